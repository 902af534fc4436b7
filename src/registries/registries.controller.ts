import { Body, Controller, Delete, Get, Param, Put, Query } from '@nestjs/common';
import { ApiParam, ApiTags } from '@nestjs/swagger';
import { Endpoint } from '../api/endpoint.decorator.js';
import type { Page } from '../http/pagination.js';
import { Registries } from './registries.js';
import {
  ListRegistries,
  PutRegistry,
  REGISTRY_EXAMPLE,
  RegistryHost,
  RegistryPage,
  RegistryResponse,
} from './registry.schema.js';

const HOST = {
  name: 'host',
  description: 'Host of the registry, with its port if the names of its images have one.',
  schema: { type: 'string' },
  example: 'registry.example.com',
} as const;

@ApiTags('registries')
@Controller('/v1/registries')
export class RegistriesController {
  constructor(private readonly registries: Registries) {}

  @Put(':host')
  @ApiParam(HOST)
  @Endpoint({
    operationId: 'Registries_put',
    access: 'admin',
    body: 'definition',
    summary: 'Set the credentials of a private registry',
    description: 'For pulls from now on, of every job. Replaces existing ones. The password is never returned.',
    answer: 'The registry',
    ok: RegistryResponse,
    example: REGISTRY_EXAMPLE,
    problems: [
      'malformed-request',
      'invalid-parameter',
      'payload-too-large',
      'unsupported-media-type',
      'invalid-request',
    ],
  })
  async put(
    @Param('host', { schema: RegistryHost }) host: string,
    @Body({ schema: PutRegistry }) body: PutRegistry,
  ): Promise<RegistryResponse> {
    return await this.registries.put(host, body);
  }

  @Get()
  @Endpoint({
    operationId: 'Registries_list',
    access: 'admin',
    summary: 'List private registries by host',
    answer: 'A page of registries',
    ok: RegistryPage,
    example: { items: [REGISTRY_EXAMPLE], nextCursor: null },
    problems: ['invalid-parameter'],
  })
  async list(@Query({ schema: ListRegistries }) query: ListRegistries): Promise<Page<RegistryResponse>> {
    return await this.registries.list(query);
  }

  @Get(':host')
  @ApiParam(HOST)
  @Endpoint({
    operationId: 'Registries_get',
    access: 'admin',
    summary: 'Get a private registry',
    answer: 'The registry',
    ok: RegistryResponse,
    example: REGISTRY_EXAMPLE,
    problems: ['invalid-parameter', 'registry-not-found'],
  })
  async get(@Param('host', { schema: RegistryHost }) host: string): Promise<RegistryResponse> {
    return await this.registries.get(host);
  }

  @Delete(':host')
  @ApiParam(HOST)
  @Endpoint({
    operationId: 'Registries_delete',
    access: 'admin',
    summary: 'Delete the credentials of a private registry',
    description: 'What was pulled keeps running; a fresh instance has to pull again.',
    answer: 'The registry as it was',
    ok: RegistryResponse,
    example: REGISTRY_EXAMPLE,
    problems: ['invalid-parameter', 'registry-not-found'],
  })
  async delete(@Param('host', { schema: RegistryHost }) host: string): Promise<RegistryResponse> {
    return await this.registries.delete(host);
  }
}
