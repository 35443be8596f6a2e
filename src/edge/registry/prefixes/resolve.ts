/** Resolves the prefix that a request names, so that the request can go on like any other. */
import type { Context } from 'hono';
import type { AppEnv } from '../../auth/context.ts';
import { defaultedRequest } from '../../claude/messages.schema.ts';
import { parseRequestField } from '../../claude/request/field-definition.ts';
import type { JsonBody } from '../../kit/http/body/json-body.ts';
import { tooLarge } from '../../kit/http/errors.ts';
import { bodySizeOf } from '../../kit/http/read-json.ts';
import { validate } from '../../kit/http/validate.ts';
import { removeUndefined } from '../../kit/json/object.ts';
import { requireStored } from '../versions/find-stored.ts';
import { createReader } from '../versions/versioned-routes.ts';
import { expandPrefix, rejectRunTools } from './prefix.ts';
import { PREFIXES } from './prefix-kind.ts';
import { PREFIX_MEMBER } from './prefixes.schema.ts';

/** A body with its prefix expanded. */
export interface PrefixedBody {
  /** The body for the upstream: with the parts of the prefix, and without the field `prefix`. */
  body: JsonBody;
  /** name@version, for the ledger. */
  prefix: string | undefined;
  /** The models that may step in, according to the prefix. */
  fallbacks?: readonly string[] | undefined;
}

/**
 * Expands the prefix that a request names. A request that names none does not change.
 *
 * @param defaults members that are set if neither the caller nor the prefix has them
 * @param counts whether the request only counts tokens, and so takes no `max_tokens`
 * @throws ApiError 400 if the request does not fit the prefix, 404 for an unknown prefix
 */
export function expandNamedPrefix(
  c: Context<AppEnv>,
  body: JsonBody,
  options: ExpandOptions = {},
): PrefixedBody | Promise<PrefixedBody> {
  const ref = parseRequestField('prefix', PREFIX_MEMBER, c.req.raw.headers, body.json);
  return ref === undefined ? { body, prefix: undefined } : expandPrefixRef(c, body, ref, options);
}

interface ExpandOptions {
  defaults?: Record<string, unknown>;
  counts?: boolean;
}

async function expandPrefixRef(
  c: Context<AppEnv>,
  body: JsonBody,
  ref: string,
  { defaults = {}, counts = false }: ExpandOptions,
): Promise<PrefixedBody> {
  validate(defaultedRequest, body.json);
  const { name, hash, value } = await requireStored(PREFIXES, createReader(c), ref);
  if (!counts) rejectRunTools(value);
  const { model, max_tokens, fallback_models: fallbacks } = value.content;
  const own = removeUndefined({ model, ...(counts ? {} : { max_tokens }) });
  const expanded = expandPrefix(body, value, { ...defaults, ...own });
  const { MAX_BODY_BYTES } = c.get('settings');
  if (bodySizeOf(expanded) > MAX_BODY_BYTES) throw tooLarge(MAX_BODY_BYTES);
  return { body: expanded, prefix: `${name}@${hash}`, fallbacks };
}
