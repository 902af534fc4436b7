import { z } from 'zod';
import { pageOf, pageQuery } from '../http/pagination.js';
import { plainText } from '../http/plain-text.js';
import { encodeAuth, MOST_AUTH_CHARACTERS } from './registry-auth.js';

// Requests and responses about registries.

const HOST = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*(:\d{1,5})?$/;

const LONGEST_HOST = 255;
const MOST_PASSWORD_CHARACTERS = 64 * 1024;

export const RegistryHost = z
  .string()
  .max(LONGEST_HOST)
  .regex(HOST, 'must be a host like registry.example.com or registry.example.com:5000, or docker.io')
  // Docker's own two names of the Hub.
  .transform((host) => (host === 'index.docker.io' || host === 'registry-1.docker.io' ? 'docker.io' : host));

const username = plainText(z.string().min(1).max(255)).meta({ examples: ['robot'] });

export const PutRegistry = z
  .strictObject({
    username,
    password: z
      .string()
      .min(1)
      .max(MOST_PASSWORD_CHARACTERS)
      // Key files contain tabs and line breaks.
      .refine(isPassword, 'must not contain control characters other than tabs and line breaks')
      .meta({
        description:
          'Or a token of the registry, or an unchanged key file: the JSON of a service account, whose username is `_json_key`. At most 64 KiB. Stored encrypted, never returned.',
      }),
  })
  .superRefine(({ username: user, password }, context) => {
    if (password.length > MOST_PASSWORD_CHARACTERS) return;
    const auth = encodeAuth({ username: user, password, serveraddress: 'x'.repeat(LONGEST_HOST) });
    if (Buffer.byteLength(password) <= MOST_PASSWORD_CHARACTERS && auth.length <= MOST_AUTH_CHARACTERS) return;
    const message = `must be at most 64 KiB, and short enough as JSON that Docker’s header stays below ${MOST_AUTH_CHARACTERS / 1024} KiB`;
    context.addIssue({ code: 'custom', path: ['password'], message, input: undefined });
  })
  .meta({ id: 'PutRegistry', examples: [{ username: 'robot', password: '…' }] });
export type PutRegistry = z.infer<typeof PutRegistry>;

export const RegistryResponse = z
  .object({
    host: z.string().meta({ description: 'How the names of its images begin.', examples: ['registry.example.com'] }),
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

function isPassword(text: string): boolean {
  return /^[^\p{Cc}\p{Cs}]*$/u.test(text.replace(/[\t\n\r]/g, ''));
}
