import { Body, Controller, Get, Headers, Param, Post, Query, Res } from '@nestjs/common';
import { ApiHeader, ApiParam, ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import type { Caller } from '../http/caller.js';
import { CurrentCaller } from '../auth/caller.decorator.js';
import { OpenAnswers } from '../auth/open-answers.js';
import { Endpoint } from '../api/endpoint.decorator.js';
import { BODY_PROBLEMS, LOCATION } from '../api/endpoint-docs.js';
import type { Page } from '../http/pagination.js';
import { versionsOf } from '../http/etag.js';
import { withFormerNames } from '../jobs/former-names.js';
import { JobNamePipe } from '../jobs/job-name.pipe.js';
import { CHANGE_PROBLEMS, IF_MATCH, NAME } from '../jobs/job-docs.js';
import { DeploymentIntents } from './deployment-intents.js';
import { DEPLOYMENT_EXAMPLE, NEW_DEPLOYMENT_EXAMPLE } from './deployment.examples.js';
import {
  Adopt,
  CreateDeployment,
  DeploymentNumber,
  DeploymentPage,
  DeploymentResponse,
  ListDeployments,
  Rollback,
  WatchDeployment,
} from './deployment.schema.js';
import { DeploymentsService } from './deployments.service.js';

@ApiTags('deployments')
@Controller('/v1/jobs')
@ApiParam(NAME)
export class DeploymentsController {
  constructor(
    private readonly deployments: DeploymentsService,
    private readonly intents: DeploymentIntents,
    private readonly streams: OpenAnswers,
  ) {}

  @Post(':name/deployments')
  @ApiHeader(IF_MATCH)
  @Endpoint({
    operationId: 'Deployments_create',
    access: 'deployer',
    scope: 'job',
    body: 'definition',
    summary: 'Deploy an image',
    description:
      'A second instance starts, and takes over once it is healthy; a stopped job starts. Default image: that of the latest deployment.',
    status: 202,
    answer: 'The deployment, queued',
    ok: DeploymentResponse,
    example: NEW_DEPLOYMENT_EXAMPLE,
    headers: LOCATION,
    problems: [...BODY_PROBLEMS, ...CHANGE_PROBLEMS, 'instance-limit-reached'],
  })
  async create(
    @Param('name', JobNamePipe) name: string,
    @Body({ schema: withFormerNames(CreateDeployment) }) body: CreateDeployment,
    @Headers('if-match') ifMatch: string | undefined,
    @CurrentCaller() caller: Caller,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<DeploymentResponse> {
    return located(reply, await this.intents.deploy(name, body, versionsOf(ifMatch), caller));
  }

  @Get(':name/deployments')
  @Endpoint({
    operationId: 'Deployments_list',
    access: 'viewer',
    scope: 'job',
    summary: 'List the deployments of a job, newest first',
    answer: 'A page of deployments',
    ok: DeploymentPage,
    example: { items: [DEPLOYMENT_EXAMPLE], nextCursor: null },
    problems: ['invalid-parameter', 'job-not-found'],
  })
  async list(
    @Param('name', JobNamePipe) name: string,
    @Query({ schema: ListDeployments }) query: ListDeployments,
  ): Promise<Page<DeploymentResponse>> {
    return await this.deployments.list(name, query);
  }

  @Get(':name/deployments/:number')
  @Endpoint({
    operationId: 'Deployments_get',
    access: 'viewer',
    scope: 'job',
    summary: 'Get a deployment',
    description: 'With `wait`, the API answers once the deployment reaches `until` or the wait ends: 200 either way.',
    answer: 'The deployment',
    ok: DeploymentResponse,
    example: DEPLOYMENT_EXAMPLE,
    problems: ['invalid-parameter', 'job-not-found', 'deployment-not-found'],
  })
  async get(
    @Param('name', JobNamePipe) name: string,
    @Param('number', { schema: DeploymentNumber }) number: number,
    @Query({ schema: WatchDeployment }) query: WatchDeployment,
    @CurrentCaller() caller: Caller,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<DeploymentResponse> {
    if (query.wait === 0) return await this.deployments.get(name, number);
    return await this.streams.whileAllowed(reply, caller, (signal) =>
      this.deployments.watch(name, number, query, signal),
    );
  }

  @Post(':name/deployments/:number/cancel')
  @Endpoint({
    operationId: 'Deployments_cancel',
    access: 'deployer',
    scope: 'job',
    summary: 'Cancel a deployment that is not active yet',
    description: 'The active deployment stays untouched. One that has ended is returned unchanged.',
    status: 202,
    answer: 'The deployment; `cancelRequestedAt` is set',
    ok: DeploymentResponse,
    example: { ...NEW_DEPLOYMENT_EXAMPLE, cancelRequestedAt: '2026-05-04T09:30:05.000Z' },
    headers: LOCATION,
    problems: [
      'invalid-parameter',
      'job-not-found',
      'deployment-not-found',
      'job-deleting',
      'deployment-active',
      'deployment-draining',
    ],
  })
  async cancel(
    @Param('name', JobNamePipe) name: string,
    @Param('number', { schema: DeploymentNumber }) number: number,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<DeploymentResponse> {
    return located(reply, await this.intents.cancel(name, number));
  }

  @Post(':name/rollback')
  @ApiHeader(IF_MATCH)
  @Endpoint({
    operationId: 'Deployments_rollback',
    access: 'deployer',
    scope: 'job',
    summary: 'Deploy again what an earlier deployment ran',
    description:
      'A new deployment with the image digest, the definition and the AMI of deployment `to`; by default of the newest one before the active one that was active. Without `to` the API rejects it (`nothing-to-roll-back`) while a deployment newer than the active one, rollbacks excepted, failed, was cancelled or is under way: there is nothing to undo, as the active one was never replaced. The job’s stored definition stays.',
    status: 202,
    answer: 'The new deployment, queued',
    ok: DeploymentResponse,
    example: { ...NEW_DEPLOYMENT_EXAMPLE, number: 3, trigger: 'rollback', copiedFrom: 1 },
    headers: LOCATION,
    problems: [
      ...BODY_PROBLEMS,
      ...CHANGE_PROBLEMS,
      'cannot-roll-back',
      'nothing-to-roll-back',
      'instance-limit-reached',
    ],
  })
  async rollback(
    @Param('name', JobNamePipe) name: string,
    @Body({ schema: Rollback }) body: Rollback,
    @Headers('if-match') ifMatch: string | undefined,
    @CurrentCaller() caller: Caller,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<DeploymentResponse> {
    return located(reply, await this.intents.rollback(name, body, versionsOf(ifMatch), caller));
  }

  @Post(':name/adopt')
  @ApiHeader(IF_MATCH)
  @Endpoint({
    operationId: 'Deployments_adopt',
    access: 'admin',
    summary: 'Take over an instance in quarantine, with the container that runs on it',
    description:
      'After rows were lost: a new deployment whose instance is the one you name. Its container runs on without a restart, so image and definition must be those it was started with. Once healthy the deployment is active, and the one active before is drained. If that fails, nothing is stopped and the instance is back in quarantine. A repeated request returns that deployment while it is under way or active.',
    status: 202,
    answer: 'The new deployment, queued',
    ok: DeploymentResponse,
    example: { ...NEW_DEPLOYMENT_EXAMPLE, number: 2, trigger: 'adopt' },
    headers: LOCATION,
    problems: [...BODY_PROBLEMS, ...CHANGE_PROBLEMS, 'instance-not-found', 'not-quarantined'],
  })
  async adopt(
    @Param('name', JobNamePipe) name: string,
    @Body({ schema: Adopt }) body: Adopt,
    @Headers('if-match') ifMatch: string | undefined,
    @CurrentCaller() caller: Caller,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<DeploymentResponse> {
    return located(reply, await this.intents.adopt(name, body, versionsOf(ifMatch), caller));
  }

  @Post(':name/restart')
  @ApiHeader(IF_MATCH)
  @Endpoint({
    operationId: 'Deployments_restart',
    access: 'deployer',
    scope: 'job',
    summary: 'Run the active deployment again on a fresh instance',
    description: 'Without downtime, like any deployment. When none is active, the last one that was.',
    status: 202,
    answer: 'The new deployment, queued',
    ok: DeploymentResponse,
    example: { ...NEW_DEPLOYMENT_EXAMPLE, number: 2, trigger: 'restart', copiedFrom: 1 },
    headers: LOCATION,
    problems: [...CHANGE_PROBLEMS, 'nothing-to-start', 'instance-limit-reached'],
  })
  async restart(
    @Param('name', JobNamePipe) name: string,
    @Headers('if-match') ifMatch: string | undefined,
    @CurrentCaller() caller: Caller,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<DeploymentResponse> {
    return located(reply, await this.intents.restart(name, versionsOf(ifMatch), caller));
  }

  @Post(':name/start')
  @ApiHeader(IF_MATCH)
  @Endpoint({
    operationId: 'Deployments_start',
    access: 'deployer',
    scope: 'job',
    summary: 'Start a stopped job',
    description:
      'A new deployment of what ran last. While one runs or is under way, the API returns that one and changes nothing.',
    status: 202,
    answer: 'The new deployment, or the current one',
    ok: DeploymentResponse,
    example: { ...NEW_DEPLOYMENT_EXAMPLE, number: 2, trigger: 'start', copiedFrom: 1 },
    headers: LOCATION,
    problems: [...CHANGE_PROBLEMS, 'nothing-to-start', 'instance-limit-reached'],
  })
  async start(
    @Param('name', JobNamePipe) name: string,
    @Headers('if-match') ifMatch: string | undefined,
    @CurrentCaller() caller: Caller,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<DeploymentResponse> {
    return located(reply, await this.intents.start(name, versionsOf(ifMatch), caller));
  }
}

function located(reply: FastifyReply, deployment: DeploymentResponse): DeploymentResponse {
  void reply.header('location', `/v1/jobs/${deployment.job}/deployments/${deployment.number}`);
  return deployment;
}
