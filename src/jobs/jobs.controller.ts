import { Body, Controller, Delete, Get, Headers, Param, Patch, Post, Query, Res } from '@nestjs/common';
import { ApiConsumes, ApiHeader, ApiParam, ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import type { Caller } from '../http/caller.js';
import { CurrentCaller } from '../auth/caller.decorator.js';
import { OpenAnswers } from '../auth/open-answers.js';
import { Endpoint } from '../api/endpoint.decorator.js';
import { BODY_PROBLEMS } from '../api/endpoint-docs.js';
import type { Page } from '../http/pagination.js';
import { etagOf, isKnown, readEtagOf, versionsOf } from '../http/etag.js';
import { withFormerNames } from './former-names.js';
import { JobNamePipe } from './job-name.pipe.js';
import { CHANGE_PROBLEMS, ETAG, IF_MATCH, NAME } from './job-docs.js';
import { JOB_EXAMPLE } from './job.examples.js';
import { JobPage, JobPatch, JobResponse, ListJobs, WatchJob } from './job.schema.js';
import { JobsService, type VersionedJob } from './jobs.service.js';

@ApiTags('jobs')
@Controller('/v1/jobs')
export class JobsController {
  constructor(
    private readonly jobs: JobsService,
    private readonly streams: OpenAnswers,
  ) {}

  @Get()
  @Endpoint({
    operationId: 'Jobs_list',
    access: 'viewer',
    scope: 'filtered',
    summary: 'List jobs by name',
    answer: 'A page of jobs',
    ok: JobPage,
    example: { items: [JOB_EXAMPLE], nextCursor: null },
    problems: ['invalid-parameter'],
  })
  async list(
    @Query({ schema: ListJobs }) query: ListJobs,
    @CurrentCaller() { scope }: Caller,
  ): Promise<Page<JobResponse>> {
    return await this.jobs.list(query, scope);
  }

  @Get(':name')
  @ApiParam(NAME)
  @Endpoint({
    operationId: 'Jobs_get',
    access: 'viewer',
    scope: 'job',
    summary: 'Get a job',
    description: 'With `wait`, the API answers once the job reaches `until` or the wait ends: 200 either way.',
    answer: 'The job',
    ok: JobResponse,
    example: JOB_EXAMPLE,
    headers: { ETag: 'Of this answer, for If-None-Match, and for If-Match of a change.' },
    isConditional: true,
    problems: ['invalid-parameter', 'job-not-found'],
  })
  async get(
    @Param('name', JobNamePipe) name: string,
    @Query({ schema: WatchJob }) query: WatchJob,
    @Headers('if-none-match') ifNoneMatch: string | undefined,
    @CurrentCaller() caller: Caller,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<JobResponse | undefined> {
    const isWaiting = query.wait > 0;
    const { job, version } = await (isWaiting
      ? this.streams.whileAllowed(reply, caller, (signal) => this.jobs.watch(name, query, signal))
      : this.jobs.get(name));
    const etag = readEtagOf(version, job);
    void reply.header('etag', etag);
    if (!isKnown(ifNoneMatch, etag)) return job;
    void reply.code(304);
    return undefined;
  }

  @Patch(':name')
  @ApiParam(NAME)
  @ApiHeader(IF_MATCH)
  @ApiConsumes('application/merge-patch+json', 'application/json')
  @Endpoint({
    operationId: 'Jobs_patch',
    access: 'deployer',
    scope: 'job',
    body: 'definition',
    summary: 'Change the definition of a job',
    description: 'Only stores it: what runs stays unchanged, the next deployment applies it.',
    answer: 'The job with its new definition',
    ok: JobResponse,
    example: JOB_EXAMPLE,
    headers: ETAG,
    problems: [...BODY_PROBLEMS, ...CHANGE_PROBLEMS],
  })
  async patch(
    @Param('name', JobNamePipe) name: string,
    @Body({ schema: withFormerNames(JobPatch) }) patch: JobPatch,
    @Headers('if-match') ifMatch: string | undefined,
    @CurrentCaller() caller: Caller,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<JobResponse> {
    return answer(reply, await this.jobs.patch(name, patch, versionsOf(ifMatch), caller));
  }

  @Delete(':name')
  @ApiParam(NAME)
  @ApiHeader(IF_MATCH)
  @Endpoint({
    operationId: 'Jobs_delete',
    access: 'deployer',
    scope: 'job',
    summary: 'Delete a job and its instances',
    description:
      'What runs is stopped with its grace time, the instance terminated, then the job is gone (404). Repeatable.',
    status: 202,
    answer: 'The job, being deleted',
    ok: JobResponse,
    example: { ...JOB_EXAMPLE, status: 'deleting', desiredState: 'deleted' },
    headers: ETAG,
    problems: ['malformed-request', 'job-not-found', 'conflict', 'precondition-failed'],
  })
  async delete(
    @Param('name', JobNamePipe) name: string,
    @Headers('if-match') ifMatch: string | undefined,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<JobResponse> {
    return answer(reply, await this.jobs.delete(name, versionsOf(ifMatch)));
  }

  @Post(':name/stop')
  @ApiParam(NAME)
  @ApiHeader(IF_MATCH)
  @Endpoint({
    operationId: 'Jobs_stop',
    access: 'deployer',
    scope: 'job',
    summary: 'Stop a job',
    description:
      'The container gets SIGTERM after its drain time, the instance is terminated; the job and its history stay. Repeatable.',
    status: 202,
    answer: 'The job, wanted stopped',
    ok: JobResponse,
    example: { ...JOB_EXAMPLE, desiredState: 'stopped' },
    headers: ETAG,
    problems: CHANGE_PROBLEMS,
  })
  async stop(
    @Param('name', JobNamePipe) name: string,
    @Headers('if-match') ifMatch: string | undefined,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<JobResponse> {
    return answer(reply, await this.jobs.stop(name, versionsOf(ifMatch)));
  }
}

function answer(reply: FastifyReply, { job, version }: VersionedJob): JobResponse {
  void reply.header('etag', etagOf(version));
  return job;
}
