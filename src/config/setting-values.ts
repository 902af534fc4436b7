import { z } from 'zod';

// Kinds of values that several settings have. A message continues the setting's name: «PORT must be …».

export const wholeNumber = (min: number, max: number) =>
  z
    .string()
    .regex(/^\d{1,15}$/, `must be a whole number from ${min} to ${max}`)
    .transform(Number)
    .refine((n) => n >= min && n <= max, `must be a whole number from ${min} to ${max}`);

export const url = (...protocols: string[]) =>
  z.string().refine(
    (text) => {
      const parsed = URL.parse(text);
      return parsed !== null && protocols.includes(parsed.protocol);
    },
    `must be a URL beginning with ${protocols.map((p) => `${p}//`).join(' or ')}`,
  );

export const list = (item: Pick<RegExp, 'test'>, what: string) =>
  z
    .string()
    .transform((text) => text.split(',').flatMap((part) => part.trim() || []))
    .refine((items) => items.every((text) => item.test(text)), `must be a comma-separated list of ${what}`);
