import { Body, Controller, Post, Res } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import type { Caller } from '../http/caller.js';
import { CurrentCaller } from '../auth/caller.decorator.js';
import { Endpoint } from '../api/endpoint.decorator.js';
import { BODY_PROBLEMS, LOCATION } from '../api/endpoint-docs.js';
import { etagOf } from '../http/etag.js';
import { withFormerNames } from '../jobs/former-names.js';
import { ETAG } from '../jobs/job-docs.js';
import { NEW_JOB_EXAMPLE } from '../jobs/job.examples.js';
import { CreateJob, JobResponse } from '../jobs/job.schema.js';
import { DeploymentIntents } from './deployment-intents.js';

/** The only route of jobs that also makes a deployment: it cannot be in jobs/, which does not depend on deployments. */
@ApiTags('jobs')
@Controller('/v1/jobs')
export class NewJobsController {
  constructor(private readonly intents: DeploymentIntents) {}

  @Post()
  @Endpoint({
    operationId: 'Jobs_create',
    access: 'deployer',
    scope: 'filtered',
    body: 'definition',
    summary: 'Make a job, and with an image its first deployment',
    description: 'A token with a scope can make jobs under names of that scope only.',
    status: 201,
    answer: 'The job',
    ok: JobResponse,
    example: NEW_JOB_EXAMPLE,
    headers: { ...LOCATION, ...ETAG },
    problems: [...BODY_PROBLEMS, 'job-name-taken', 'job-limit-reached', 'instance-limit-reached'],
  })
  async create(
    @Body({ schema: withFormerNames(CreateJob) }) body: CreateJob,
    @CurrentCaller() caller: Caller,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<JobResponse> {
    const { job, version } = await this.intents.createJob(body, caller);
    void reply.headers({ location: `/v1/jobs/${job.name}`, etag: etagOf(version) });
    return job;
  }
}
