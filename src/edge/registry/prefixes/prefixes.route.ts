import type { Context } from 'hono';
import { type AppEnv, getRequestContext } from '../../auth/context.ts';
import { countTokens } from '../../claude/count-tokens.ts';
import { rejectUnsupportedParameters } from '../../claude/pricing/adapt-for-model.ts';
import { findDefaultModel } from '../../claude/pricing/default-model.ts';
import { getUpstreamOfContext } from '../../claude/upstream.ts';
import { createPieceStream, replacePlaceholdersByPieces } from '../../kit/http/body-pieces.ts';
import { encoder } from '../../kit/http/bytes.ts';
import { ApiError } from '../../kit/http/errors.ts';
import { admitVersionStorageRequest } from '../../money/admission/admit-free.ts';
import { admitTokenCount } from '../../money/admission/reserve-attempt.ts';
import type { FoundVersion } from '../../money/versions/kv-copies.ts';
import { findRejectionWarnings } from '../versions/rejection-warnings.ts';
import { readBodyWithStoredTools, redactToolAddresses } from '../versions/stored-tools.ts';
import { createVersionedRoutes, toOwnerField } from '../versions/versioned-routes.ts';
import { computeBreakEvenRequests, computePrefixCachingCosts } from './break-even.ts';
import { createCanonicalPrefixText, createTokenCountBodies, type ParsedPrefix } from './prefix.ts';
import { PREFIXES } from './prefix-kind.ts';
import { MAX_PREFIX_BYTES, MAX_PREFIX_TOOLS_BYTES, putPrefix } from './prefixes.schema.ts';
import type { PrefixResponse } from './prefixes-answers.schema.ts';

const TOOLS_NOTE =
  'Tools come before system and messages in the upstream’s cache, so a request with its own tools has a separate cache entry. The tools of the prefix are still read from the cache if they reach the minimum by themselves.';

/** The routes of prefixes. An admin stores the deployment's, everybody else those of their account. */
export const PREFIX_ROUTES = createVersionedRoutes({
  stored: PREFIXES,
  scope: 'messages',
  schemas: putPrefix,
  maxBytes: MAX_PREFIX_BYTES,
  readPutBody: async (c, warn) => {
    // Check the size twice: before the work that grows with it, and once the tools of MCP servers are inserted.
    const body = await readBodyWithStoredTools(c, 'count', warn, (sent) => {
      rejectTooLargeTools(sent.tools);
      return sent;
    });
    rejectTooLargeTools(body.tools);
    return body;
  },
  serializeVersion: (fields) => encoder.encode(createCanonicalPrefixText(fields)),
  createGetResponse: respondWithPrefix,
  // Send the prefix to count_tokens before storing it, so that a prefix that the upstream rejects is not stored.
  createPutResponse: createPrefixResponse,
  admitPut: admitVersionStorageRequest,
});

/** @throws ApiError 413 */
function rejectTooLargeTools(tools: unknown): void {
  const bytes = tools === undefined ? 0 : encoder.encode(JSON.stringify(tools)).length;
  if (bytes <= MAX_PREFIX_TOOLS_BYTES) return;
  throw new ApiError(
    'request_too_large',
    `tools: ${bytes} bytes. At most ${MAX_PREFIX_TOOLS_BYTES} are allowed in a prefix. Store fewer or smaller tools, or send them with each request.`,
  );
}

function respondWithPrefix(c: Context<AppEnv>, { name, hash, owner, value }: FoundVersion<ParsedPrefix>): Response {
  const { content } = value;
  const tools = redactToolAddresses(c, owner, content.tools);
  const shown = { type: 'prefix', name, version: `${name}@${hash}`, owner: toOwnerField(owner), ...content, tools };
  const body = createPieceStream(replacePlaceholdersByPieces(JSON.stringify(shown), value.sources));
  return new Response(body, { headers: { 'content-type': 'application/json' } });
}

/** Describes a version: the upstream counts its tokens, and the price table gives its costs. */
async function createPrefixResponse(
  c: Context<AppEnv>,
  { name, hash, value: prefix }: FoundVersion<ParsedPrefix>,
  leftOut: readonly string[],
): Promise<PrefixResponse> {
  const settings = c.get('settings');
  const { model: own, fallback_models = [], max_tokens, cache_ttl } = prefix.content;
  rejectUnsupportedParameters(settings.models, [own, ...fallback_models], { max_tokens });
  const upstream = getUpstreamOfContext(c);
  const model = settings.models.resolveAlias(own ?? findDefaultModel(settings.models)?.id ?? '');
  await admitTokenCount({ ...getRequestContext(c), route: 'prefixes', model });
  const { headers, signal } = c.req.raw;
  const counting = { upstream, settings, model, headers, signal };
  const { createCompleteBody: complete, added } = createTokenCountBodies(prefix, model);
  const [all, rest] = await Promise.all([
    countTokens(complete, counting),
    added === undefined ? 0 : countTokens(added, counting),
  ]);
  const input_tokens = Math.max(0, all - rest);
  const row = settings.models.findRow(model);
  const costs = row && computePrefixCachingCosts(input_tokens, row, cache_ttl);
  const short = row !== undefined && input_tokens < row.minimum_cacheable_tokens;
  const warnings = [...leftOut, ...findRejectionWarnings(prefix.content)];
  if (!row) warnings.push(`${model} is not in the model table, so its prices and its minimum for caching are unknown.`);
  if (row && short) {
    warnings.push(
      `This prefix has ${input_tokens} tokens, but ${row.id} caches at least ${row.minimum_cacheable_tokens}. The prefix is cached only together with messages.`,
    );
  }
  if (row && input_tokens > row.max_input_tokens) {
    warnings.push(
      `This prefix has ${input_tokens} tokens, but ${row.id} supports at most ${row.max_input_tokens}. Shorten the prefix, or use another model.`,
    );
  }
  return {
    type: 'prefix',
    name,
    version: `${name}@${hash}`,
    model,
    input_tokens,
    minimum_cacheable_tokens: row?.minimum_cacheable_tokens ?? null,
    warnings,
    notes: [TOOLS_NOTE],
    cost_usd: costs ?? null,
    pays_from_requests: costs && !short ? computeBreakEvenRequests(costs) : null,
  };
}
