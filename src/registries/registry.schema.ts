import { z } from 'zod';
import { pageOf, pageQuery } from '../http/pagination.js';

// What goes over the wire for a registry.

const HOST = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*(:\d{1,5})?$/;

export const RegistryHost = z
  .string()
  .max(255)
  .regex(HOST, 'must be a host like registry.example.com or registry.example.com:5000, or docker.io')
  // Docker's own two names of the Hub.
  .transform((host) => (host === 'index.docker.io' || host === 'registry-1.docker.io' ? 'docker.io' : host));

const username = z
  .string()
  .min(1)
  .max(255)
  .regex(/^[^\p{Cc}\p{Cs}]*$/u, 'must not contain control characters')
  .meta({ examples: ['robot'] });

export const PutRegistry = z
  .strictObject({
    username,
    password: z
      .string()
      .min(1)
      .max(4096)
      .regex(/^[^\p{Cc}\p{Cs}]*$/u, 'must not contain control characters')
      .meta({ description: 'Or a token of the registry. Kept encrypted, never answered.' }),
  })
  .meta({ id: 'PutRegistry', examples: [{ username: 'robot', password: '…' }] });
export type PutRegistry = z.infer<typeof PutRegistry>;

export const RegistryResponse = z
  .object({
    host: z.string().meta({ description: 'As the names of its images begin.', examples: ['registry.example.com'] }),
    username,
    createdAt: z.iso.datetime(),
    updatedAt: z.iso.datetime(),
  })
  .meta({ id: 'Registry' });
export type RegistryResponse = z.infer<typeof RegistryResponse>;

export const RegistryPage = pageOf(RegistryResponse).meta({ id: 'RegistryPage' });

export const ListRegistries = z.strictObject(pageQuery);
export type ListRegistries = z.infer<typeof ListRegistries>;

export const REGISTRY_EXAMPLE: RegistryResponse = {
  host: 'registry.example.com',
  username: 'robot',
  createdAt: '2026-05-04T09:30:00.000Z',
  updatedAt: '2026-05-04T09:30:00.000Z',
};
