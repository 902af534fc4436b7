import { Body, Controller, Get, HttpCode, Param, Post, Query, Req, Res } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Access } from '../auth/access.decorator.js';
import { Problem } from '../http/problem.js';
import { instanceIdOf } from './agent-access.js';
import { OrderNumber, OrdersQuery, RegistrationForm, ResultHeaders, StreamQuery } from './agent.schema.js';
import { OrderPolls } from './order-polls.js';
import { OrderStreams } from './order-streams.js';
import { streamOf } from './read-upload.js';
import { RegistrationService } from './registration.service.js';
import { ResultsService } from './results.service.js';

/** The API for agents, version 1. Instances live longer than API versions: nothing here may change meaning. */
@ApiExcludeController()
@Controller('agent/v1')
export class AgentController {
  constructor(
    private readonly registration: RegistrationService,
    private readonly polls: OrderPolls,
    private readonly results: ResultsService,
    private readonly streams: OrderStreams,
  ) {}

  @Post('register')
  @Access('registration')
  @HttpCode(204)
  async register(@Body({ schema: RegistrationForm }) form: RegistrationForm): Promise<void> {
    await this.registration.register(form);
  }

  /** Waits for an order; 204 when none came. */
  @Get('orders')
  @Access('agent')
  async orders(
    @Query({ schema: OrdersQuery }) { after }: OrdersQuery,
    @Req() request: FastifyRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const poll = this.polls.poll(instanceIdOf(request), after);
    reply.raw.once('close', () => this.polls.leave(poll));
    const order = await poll.answer;
    void reply.header('cache-control', 'no-store');
    if (order) void reply.code(200).headers(order.headers).type('application/json').send(order.body);
    else void reply.code(204).send();
  }

  /** Answers once all that was sent is stored; `Stream-Since` is where the next upload begins. */
  @Post('orders/:number/stream')
  @Access('agent', 'whole', 'log')
  @HttpCode(200)
  async stream(
    @Param('number', { schema: OrderNumber }) number: number,
    @Query({ schema: StreamQuery }) { since }: StreamQuery,
    @Body() body: unknown,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<void> {
    const stream = streamOf(body, 'Send a stream as application/octet-stream.');
    const next = await this.streams.store(instanceIdOf(request), number, since, stream);
    void reply.header('stream-since', next);
  }

  @Post('orders/:number/result')
  @Access('agent', 'whole', 'answer')
  @HttpCode(204)
  async result(
    @Param('number', { schema: OrderNumber }) number: number,
    @Body() body: unknown,
    @Req() request: FastifyRequest,
  ): Promise<void> {
    const headers = ResultHeaders.safeParse(request.headers);
    if (!headers.success) throw headerProblem(headers.error.issues);
    await this.results.store({
      instanceId: instanceIdOf(request),
      number,
      status: headers.data['result-status'],
      error: headers.data['result-error'] ?? null,
      probeState: headers.data['probe-state'] ?? null,
      body: streamOf(body, 'Send the answer as application/octet-stream.'),
    });
  }
}

function headerProblem(
  issues: readonly { readonly path: readonly PropertyKey[]; readonly message: string }[],
): Problem {
  const errors = issues.map(({ path, message }) => ({ header: String(path[0]), detail: message }));
  return new Problem('invalid-parameter', 'A header is missing or not valid.', { errors });
}
