/** The schemas of settings. Each parses a string, and has a short message about what it must be. */

import { parseCommaList } from '../kit/http/headers/comma-list.ts';
import { isOrigin } from '../kit/http/headers/hosts.ts';
import * as z from '../kit/http/zod.ts';

export const createCountSettingSchema = (fallback: number, min = 0, max = Number.MAX_SAFE_INTEGER) =>
  z._default(
    z.coerce.number('must be a number').check(z.int('must be a whole number'), z.gte(min), z.lte(max)),
    fallback,
  );
/** A hundred years: an alarm cannot be set for a time much further ahead. */
export const MAX_DAYS = 36_500;

const parsedText = z.pipe(
  z.string(),
  z.transform((text, context) => {
    try {
      return JSON.parse(text) as unknown;
    } catch {
      context.issues.push({ code: 'custom', message: 'must be JSON', input: text });
      return z.NEVER;
    }
  }),
);
export const createJsonSettingSchema = <T extends z.ZodMiniType>(schema: T) => z.pipe(parsedText, schema);

export const commaListSetting = z.pipe(z.string(), z.transform(parseCommaList));
const origin = z.string().check(
  z.refine((value) => value === '*' || isOrigin(value), {
    error:
      'must be origins such as https://app.example.com or capacitor://localhost, without a slash or a path at the end, separated by commas, or *. Wildcards such as https://*.example.com are not supported: list each origin',
  }),
);
export const origins = z.pipe(commaListSetting, z.array(origin));

export const secret = z.string().check(z.minLength(32, 'must have at least 32 characters'));

/** @param kind such as `an agent` */
const createNameSettingSchema = (kind: string) =>
  z
    .string()
    .check(
      z.regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(@[0-9a-f]{32})?$/, `must be the name of ${kind}, or name@version`),
    );
export const agentName = createNameSettingSchema('an agent');
export const classifierName = createNameSettingSchema('a classifier');

export const senderSecrets = z.pipe(
  commaListSetting,
  z.array(z.string().check(z.minLength(16, 'must have at least 16 characters'))),
);
export const standardSecret = z.string().check(
  z.regex(/^(whsec_)?(?:[A-Za-z0-9+/]{4})+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/, 'must be base64, as whsec_…'),
  // 32 characters of base64 are the 24 bytes that Standard Webhooks requires at least:
  // https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
  z.refine((value) => value.replace(/^whsec_|=+$/g, '').length >= 32, 'must have at least 24 bytes in base64'),
);
export const standardSecrets = z.pipe(commaListSetting, z.array(standardSecret));
const createUrlSettingSchema = (fault: string) =>
  z.string().check(
    z.trim(),
    z.refine((url) => /^https?:$/.test(URL.parse(url)?.protocol ?? ''), fault),
  );
export const anyHttpUrl = createUrlSettingSchema('must be an http or https URL');
export const httpUrl = createUrlSettingSchema('must be an https URL');
