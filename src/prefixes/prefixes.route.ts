import { type Context, Hono } from 'hono';
import { admitTokenCount } from '../accounts/admission/admission.ts';
import { admittedFor } from '../accounts/admission/admit-free.ts';
import { readJson } from '../accounts/admission/read-body.ts';
import { addUp, totalSavings } from '../accounts/ledger/savings.ts';
import { daysQuery } from '../accounts/usage.schema.ts';
import { hasScope, requireScope } from '../auth/authenticate.ts';
import { type AppEnv, contextOf } from '../auth/context.ts';
import type { SavingsRow } from '../durable/contracts/account.ts';
import { check } from '../http/check.ts';
import { tooLarge } from '../http/errors.ts';
import { piecesOf, streamOfPieces } from '../http/pieces.ts';
import { DEPLOYMENT } from '../identity/identity.ts';
import { defaultModel } from '../pricing/default-model.ts';
import { countTokens } from '../upstream/count-tokens.ts';
import { type Fetch, upstreamOf } from '../upstream/upstream.ts';
import { usersOf, versionHashOf } from '../versions/kv-copies.ts';
import {
  findAsked,
  historyOf,
  listNames,
  objectOf,
  ownerName,
  ownersSeen,
  placeNamed,
  pointName,
  putVersion,
  removeName,
  versionOf,
} from '../versions/named-routes.ts';
import { cachedCosts, paysFrom } from './break-even.ts';
import { PREFIX_KIND, PREFIXES, unknownPrefix } from './find-prefix.ts';
import { canonicalText, countBodies, type Prefix, readPrefix } from './prefix.ts';
import { MAX_PREFIX_BYTES, putPrefix } from './prefixes.schema.ts';
import type { PrefixAnswer, PrefixStats } from './prefixes-answers.schema.ts';

/** Accounts whose ledgers are asked at the same time. */
const OBJECTS_AT_ONCE = 20;

const TOOLS_NOTE =
  'Tools come before system and messages in what the upstream caches: a request with tools of its own has a cache entry of its own. The tools of the prefix are read from the cache all the same, if they alone reach the minimum.';

/** Prefixes: an admin stores the deployment's, everybody else their account's. */
export function prefixesRoutes(fetchUpstream?: Fetch) {
  return new Hono<AppEnv>()
    .get('/prefixes', requireScope('messages'), async (c) => c.json(await listNames(c, PREFIX_KIND)))
    .put('/prefixes/:name', requireScope('prefixes'), (c) => putPrefixNamed(c, fetchUpstream))
    .get('/prefixes/:name/versions', requireScope('messages'), async (c) =>
      c.json(await historyOf(c, PREFIXES, c.req.param('name'))),
    )
    .get('/prefixes/:name/stats', requireScope('messages'), async (c) => c.json(await stats(c)))
    .get('/prefixes/:name', requireScope('messages'), async (c) => {
      const { name, hash, owner, value } = await findAsked(c, PREFIXES, c.req.param('name'));
      const told = { type: 'prefix', name, version: `${name}@${hash}`, owner: ownerName(owner), ...value.content };
      const body = streamOfPieces(piecesOf(JSON.stringify(told), value.sources));
      return new Response(body, { headers: { 'content-type': 'application/json' } });
    })
    .delete('/prefixes/:name', requireScope('prefixes'), async (c) => {
      const name = c.req.param('name');
      await removeName(c, PREFIXES, name);
      return c.json({ type: 'prefix_deleted', name });
    });
}

async function putPrefixNamed(c: Context<AppEnv>, fetchUpstream?: Fetch): Promise<Response> {
  const name = c.req.param('name') ?? '';
  const place = placeNamed(c, PREFIXES, name);
  const { json } = await readJson(c, 'count');
  if (Object.hasOwn(json, 'version')) {
    const { hash, value } = await versionOf(c, PREFIXES, place, check(putPrefix.pointer, json).version);
    const answer = await prefixAnswerOf(c, name, hash, value, fetchUpstream);
    await admittedFor(c, place.owner);
    await pointName(c, PREFIXES, place, hash);
    return c.json(answer);
  }
  const fields = check(putPrefix.fields, json);
  const text = canonicalText(fields);
  const bytes = new TextEncoder().encode(text);
  if (bytes.length > MAX_PREFIX_BYTES) throw tooLarge(MAX_PREFIX_BYTES);
  const hash = await versionHashOf(bytes);
  // Counted first: what the upstream would not take is not stored.
  const answer = await prefixAnswerOf(c, name, hash, readPrefix(bytes), fetchUpstream);
  await admittedFor(c, place.owner);
  await putVersion(c, PREFIXES, place, { hash, bytes, description: fields.description });
  return c.json(answer);
}

/** What a version comes to: the upstream counts it, and the price table says the rest. */
async function prefixAnswerOf(
  c: Context<AppEnv>,
  name: string,
  hash: string,
  prefix: Prefix,
  fetchUpstream?: Fetch,
): Promise<PrefixAnswer> {
  const settings = c.get('settings');
  const upstream = upstreamOf(settings, fetchUpstream);
  const model = settings.models.resolve(prefix.content.model ?? defaultModel(settings.models)?.id ?? '');
  await admitTokenCount({ ...contextOf(c), route: 'prefixes', model });
  const counting = { upstream, settings, headers: c.req.raw.headers };
  const { whole, added } = countBodies(prefix, model);
  const [all, rest] = await Promise.all([
    countTokens(whole, counting),
    added === undefined ? 0 : countTokens(added, counting),
  ]);
  const input_tokens = Math.max(0, all - rest);
  const row = settings.models.find(model);
  const { cache_ttl } = prefix.content;
  const costs = row && cachedCosts(input_tokens, row, cache_ttl);
  const short = row !== undefined && input_tokens < row.minimum_cacheable_tokens;
  const warnings: string[] = [];
  if (!row) warnings.push(`${model} is not in the model table: its prices and its minimum for caching are not known.`);
  if (row && short) {
    warnings.push(
      `This prefix has ${input_tokens} tokens, and ${row.id} caches from ${row.minimum_cacheable_tokens} on: by itself it is not cached.`,
    );
  }
  if (row && input_tokens > row.max_input_tokens) {
    warnings.push(`This prefix has ${input_tokens} tokens, and ${row.id} takes ${row.max_input_tokens} at the most.`);
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
    pays_from_requests: costs && !short ? paysFrom(costs) : null,
  };
}

async function stats(c: Context<AppEnv>): Promise<PrefixStats> {
  const { from, to } = check(daysQuery, c.req.query());
  const name = c.req.param('name') ?? '';
  const { account } = c.get('identity');
  for (const owner of ownersSeen(c)) {
    const versions = await objectOf(c, owner)((object) => object.versionsOf(PREFIX_KIND, name));
    if (versions.length === 0) continue;
    const query = { versions, from, to };
    const asked = owner === DEPLOYMENT && hasScope(c.get('identity'), 'admin') ? await usersIn(c, name) : [account];
    const rows: SavingsRow[] = [];
    for (let at = 0; at < asked.length; at += OBJECTS_AT_ONCE) {
      const reports = asked
        .slice(at, at + OBJECTS_AT_ONCE)
        .map((user) => objectOf(c, user)((object) => object.savings(query)));
      rows.push(...(await Promise.all(reports)).flat());
    }
    const data = addUp(rows);
    return { name, owner: ownerName(owner), from: from ?? null, to: to ?? null, data, total: totalSavings(data) };
  }
  throw unknownPrefix(name);
}

async function usersIn(c: Context<AppEnv>, name: string): Promise<string[]> {
  const users: string[] = [];
  for await (const user of usersOf(c.env.STORE, PREFIX_KIND, name)) users.push(user);
  return users;
}
