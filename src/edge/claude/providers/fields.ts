/** Fields of entries that several kinds have. */

import { httpUrl } from '../../config/setting-schemas.ts';
import { isLoopback } from '../../kit/http/headers/hosts.ts';
import * as z from '../../kit/http/zod.ts';

/**
 * Makes the schema of a part of a host's name or of a path. Such a part can neither end the host nor begin another segment.
 */
export function createUrlSegmentSchema(example: string): z.ZodMiniString {
  return z.string(`must be a text such as "${example}"`).check(
    z.maxLength(100),
    z.regex(/^[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?$/, `must be a name such as "${example}"`),
    // The value becomes a segment of a URL path, where `..` would select the parent folder, so reject it.
    z.refine((value) => !value.includes('..'), `must be a name such as "${example}"`),
  );
}

/** Makes the schema of a single label of a host's name, such as a region. */
export function createHostLabelSchema(example: string): z.ZodMiniString {
  return z
    .string(`must be a text such as "${example}"`)
    .check(
      z.maxLength(63),
      z.regex(/^[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?$/, `must be a name such as "${example}"`),
    );
}

/** The address that replaces the kind's own, without a slash at its end. */
export const baseUrl = z.optional(
  z.pipe(
    httpUrl.check(
      z.refine((url) => !/[?#]/.test(url), 'must not contain a query'),
      z.refine((url) => url.startsWith('https:') || isLoopback(url), 'must be an https URL'),
      z.refine((url) => !/^https?:\/\/[^/]*@/.test(url), 'must not contain credentials'),
    ),
    z.transform((url: string) => url.replace(/\/+$/, '')),
  ),
);

/** @returns a base URL without the version. (Some clients include the version in it, some do not.) */
export function stripVersion(url: string): string {
  return url.replace(/\/v1$/, '');
}

/** Makes the schema of a name that a table of the plugins in use has. */
export function createTableNameSchema(table: () => Readonly<Record<string, unknown>>) {
  return z.custom<string>((name) => typeof name === 'string' && Object.hasOwn(table(), name), {
    error: () => `must be one of ${Object.keys(table()).join(', ')}`,
  });
}
