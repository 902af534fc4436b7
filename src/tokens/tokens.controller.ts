import { Body, Controller, Delete, Get, Param, Post, Query, Res } from '@nestjs/common';
import { ApiParam, ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { Endpoint } from '../api/endpoint.decorator.js';
import type { Page } from '../http/pagination.js';
import { CreateToken, ListTokens, NewTokenResponse, TOKEN_EXAMPLE, TokenPage, TokenResponse } from './token.schema.js';
import { TokensService } from './tokens.service.js';

const ID = { name: 'id', description: 'Id of the token.', schema: { type: 'string' }, example: '1f2e3d4c' } as const;

@ApiTags('tokens')
@Controller('/v1/tokens')
export class TokensController {
  constructor(private readonly tokens: TokensService) {}

  @Post()
  @Endpoint({
    operationId: 'Tokens_create',
    access: 'admin',
    summary: 'Make a token',
    description: 'The answer is the only one that holds the token itself; the database keeps a hash of it.',
    status: 201,
    answer: 'The token, shown this once',
    ok: NewTokenResponse,
    example: { token: `sch_1f2e3d4c_${'0123456789abcdef'.repeat(4)}`, ...TOKEN_EXAMPLE },
    headers: { Location: 'Where it can be read.' },
    problems: ['malformed-request', 'payload-too-large', 'unsupported-media-type', 'invalid-request'],
  })
  async create(
    @Body({ schema: CreateToken }) body: CreateToken,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<NewTokenResponse> {
    const token = await this.tokens.create(body);
    void reply.headers({ location: `/v1/tokens/${token.id}`, 'cache-control': 'no-store' });
    return token;
  }

  @Get()
  @Endpoint({
    operationId: 'Tokens_list',
    access: 'admin',
    summary: 'List tokens, newest first',
    description:
      'Revoked and expired ones as well, as long as they are kept. ADMIN_TOKEN is a setting, and not listed.',
    answer: 'A page of tokens',
    ok: TokenPage,
    example: { items: [TOKEN_EXAMPLE], nextCursor: null },
    problems: ['invalid-parameter'],
  })
  async list(@Query({ schema: ListTokens }) query: ListTokens): Promise<Page<TokenResponse>> {
    return await this.tokens.list(query);
  }

  @Get(':id')
  @ApiParam(ID)
  @Endpoint({
    operationId: 'Tokens_get',
    access: 'admin',
    summary: 'Get a token',
    answer: 'What the token allows, and when it was last used',
    ok: TokenResponse,
    example: TOKEN_EXAMPLE,
    problems: ['token-not-found'],
  })
  async get(@Param('id') id: string): Promise<TokenResponse> {
    return await this.tokens.get(id);
  }

  @Delete(':id')
  @ApiParam(ID)
  @Endpoint({
    operationId: 'Tokens_revoke',
    access: 'admin',
    summary: 'Revoke a token',
    description: 'All processes refuse it at once, or after five seconds where a signal was lost. Repeatable.',
    answer: 'The token, revoked',
    ok: TokenResponse,
    example: { ...TOKEN_EXAMPLE, revokedAt: '2026-06-01T12:00:00.000Z' },
    problems: ['token-not-found'],
  })
  async revoke(@Param('id') id: string): Promise<TokenResponse> {
    return await this.tokens.revoke(id);
  }
}
