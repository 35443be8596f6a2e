/** Resolves the prefix that a request names, so that the request can continue like any other. */
import type { Context } from 'hono';
import type { AppEnv } from '../../auth/context.ts';
import { defaultedRequest } from '../../claude/messages.schema.ts';
import { parseRequestField } from '../../claude/request/field-definition.ts';
import type { JsonBody } from '../../kit/http/body/json-body.ts';
import { createTooLargeError } from '../../kit/http/errors.ts';
import { getBodySize } from '../../kit/http/read-json.ts';
import { validateBySchema } from '../../kit/http/validate.ts';
import { removeUndefined } from '../../kit/json/object.ts';
import { requireStoredVersion } from '../versions/find-stored.ts';
import { createVersionReader } from '../versions/versioned-routes.ts';
import { expandPrefix, rejectPrefixWithRunTools } from './prefix.ts';
import { PREFIXES } from './prefix-kind.ts';
import { PREFIX_MEMBER } from './prefixes.schema.ts';

/** A body with its prefix expanded. */
export interface PrefixExpandedBody {
  /** The body for the upstream: with the parts of the prefix, and without the field `prefix`. */
  body: JsonBody;
  /** name@version, for the ledger. */
  prefix: string | undefined;
  /** The models that may step in, according to the prefix. */
  fallbackModels?: readonly string[] | undefined;
}

/**
 * Expands the prefix that a request names. A request that names none does not change.
 *
 * @param defaultsWithPrefix members that are set if neither the caller nor the prefix has them. Ignored if no prefix is named
 * @param counts whether the request only counts tokens, and so takes no `max_tokens`
 * @throws ApiError 400 if the request does not fit the prefix, 404 for an unknown prefix
 */
export function expandPrefixOfRequest(
  c: Context<AppEnv>,
  body: JsonBody,
  options: PrefixExpansionOptions = {},
): PrefixExpandedBody | Promise<PrefixExpandedBody> {
  const ref = parseRequestField('prefix', PREFIX_MEMBER, c.req.raw.headers, body.json);
  return ref === undefined ? { body, prefix: undefined } : expandReferencedPrefix(c, body, ref, options);
}

interface PrefixExpansionOptions {
  defaultsWithPrefix?: Record<string, unknown>;
  counts?: boolean;
}

async function expandReferencedPrefix(
  c: Context<AppEnv>,
  body: JsonBody,
  ref: string,
  { defaultsWithPrefix = {}, counts = false }: PrefixExpansionOptions,
): Promise<PrefixExpandedBody> {
  validateBySchema(defaultedRequest, body.json);
  const { name, hash, value } = await requireStoredVersion(PREFIXES, createVersionReader(c), ref);
  if (!counts) rejectPrefixWithRunTools(value);
  const { model, max_tokens, fallback_models: fallbackModels } = value.content;
  const own = removeUndefined({ model, ...(counts ? {} : { max_tokens }) });
  const expanded = expandPrefix(body, value, { ...defaultsWithPrefix, ...own });
  const { MAX_BODY_BYTES } = c.get('settings');
  if (getBodySize(expanded) > MAX_BODY_BYTES) throw createTooLargeError(MAX_BODY_BYTES);
  return { body: expanded, prefix: `${name}@${hash}`, fallbackModels };
}
