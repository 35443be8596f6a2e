/** Reads the entries of the setting UPSTREAMS, and opens the upstreams that they describe. */

import type { Settings } from '../../config/settings.ts';
import { getOrCreate } from '../../kit/cache/get-or-create.ts';
import { createMisconfiguredError } from '../../kit/http/errors.ts';
import { registerSecrets } from '../../kit/http/secrets.ts';
import * as z from '../../kit/http/zod.ts';
import { isObject, toJsonText } from '../../kit/json/object.ts';
import { parseJsonOrUndefined } from '../../kit/json/parse.ts';
import { type ModelTable, stripDate } from '../models/models.ts';
import { priceTable } from '../models/price-settings.ts';
import { allProviders } from './all-providers.ts';
import { createTableNameSchema } from './fields.ts';
import { isMissingModelError } from './missing-model.ts';
import {
  type AuthorizationContext,
  type BodyChanges,
  type CallAdaptation,
  type CallHeaders,
  type ClaudeApiCall,
  InvalidKeyError,
  type ProviderAdapter,
  type UpstreamCall,
} from './provider.ts';

const modelId = z.string().check(z.minLength(1), z.maxLength(256));

/** The fields of every entry, whatever its kind is. */
const commonFields = {
  name: z
    .string('must be a name such as "east"')
    .check(z.maxLength(40), z.regex(/^[a-z](?:[a-z0-9-]*[a-z0-9])?$/, 'must be a name such as "east-2"')),
  kind: createTableNameSchema(allProviders),
  models: z.optional(
    z
      .union([
        z.catchall(z.object({}), modelId),
        z.pipe(
          z.array(modelId),
          z.transform((names) => Object.fromEntries(names.map((name) => [name, undefined]))),
        ),
      ])
      .check(
        z.refine((models) => Object.keys(models).length > 0, 'must contain a model. Remove it to support all models'),
      ),
  ),
  price_factor: z.optional(z.number().check(z.gt(0), z.lte(100))),
  prices: z.optional(priceTable),
  count: z._default(z.boolean(), true),
  max_concurrent: z.optional(z.int().check(z.gte(1))),
  /** Which answers it stops writing and billing when their connection is closed. */
  cancel_stops: z._default(z.enum(['streams', 'always', 'never']), 'streams'),
  first_byte_ms: z._default(z.int().check(z.gte(1), z.lte(600_000)), 30_000),
};

/** A parsed entry of UPSTREAMS, with the fields that every entry has. Its other fields belong to its kind. */
export type UpstreamEntry = z.output<z.ZodMiniObject<typeof commonFields>>;

/** An upstream of UPSTREAMS, ready to be called. */
export interface ConfiguredUpstream {
  readonly entry: UpstreamEntry;
  readonly name: string;
  /** Whether its answers are the simulator's. */
  readonly isSimulated: boolean;
  /** Whether it is the Claude API itself, or the simulator in its place. */
  readonly isClaudeApi: boolean;
  /** @returns the id by which a model is called here; undefined if this upstream does not serve it. */
  idOf(model: string): string | undefined;
  /** @returns the Claude API's name of a model that an answer of this upstream names. */
  getClaudeModelName(idThere: string): string;
  /**
   * @returns the feature that the call needs and this upstream does not have, such as `message batches`; undefined if it
   * takes the call.
   */
  findUnsupportedFeature(call: Pick<ClaudeApiCall, 'method' | 'path' | 'headers'>): string | undefined;
  /** @returns whether the body of a 404 means that this upstream does not offer the model. */
  isMissingModelBody(text: string, model: string): boolean;
  /** Converts a call into the form of this upstream, with its credential. */
  prepare(call: ClaudeApiCall, authorizing: AuthorizationContext): Promise<UpstreamCall>;
  /** Forgets a credential that was requested: it was rejected. */
  forgetCredential(): void;
}

/** @returns the name of the secret of an entry: `UPSTREAM_EAST_2_KEY` for `east-2`. */
export function getUpstreamKeySettingName(name: string): string {
  return `UPSTREAM_${name.toUpperCase().replaceAll('-', '_')}_KEY`;
}

/**
 * Reads the entries of UPSTREAMS, without their secrets: a deployment script does not know those.
 *
 * @throws ApiError 500 that names each malformed entry, and what is wrong with it
 */
export function parseUpstreams(settings: Settings): UpstreamEntry[] {
  const faults: string[] = [];
  const entries: UpstreamEntry[] = [];
  const names = new Set<string>();
  for (const [index, value] of settings.UPSTREAMS.entries()) {
    const called = typeof value.name === 'string' ? JSON.stringify(value.name.slice(0, 40)) : `number ${index + 1}`;
    const kind =
      typeof value.kind === 'string' && Object.hasOwn(allProviders(), value.kind)
        ? allProviders()[value.kind]
        : undefined;
    const { data, error } = z.strictObject({ ...kind?.fields, ...commonFields }).safeParse(value);
    const fault = data && kind?.fault?.(data);
    const sentences = (error?.issues ?? []).map(
      ({ path, message }) => `${path.join('.') || 'it'} ${lowerCaseFirstLetter(message)}`,
    );
    if (fault !== undefined) sentences.push(`it ${fault}`);
    if (kind?.simulated && !/^simulator(?:-|$)/.test(toJsonText(value.name))) {
      // Responses name their upstream, so the name must show the caller that the simulator answered, not Claude.
      sentences.push('name must be "simulator", or begin with "simulator-", as its answers are not Claude\'s');
    }
    if (names.has(toJsonText(value.name))) sentences.push('name is the one of another entry');
    names.add(toJsonText(value.name));
    if (sentences.length > 0) faults.push(`the entry ${called}: ${sentences.join('; ')}`);
    else entries.push(data as UpstreamEntry);
  }
  if (faults.length > 0)
    throw createMisconfiguredError(
      `This deployment has a malformed UPSTREAMS: ${faults.join('; ')}. Its operator must correct it.`,
    );
  const simulated = entries.filter(({ kind }) => allProviders()[kind]?.simulated);
  if (simulated.length > 0 && !settings.development) {
    throw createMisconfiguredError(
      `The simulator is for development only. Remove from UPSTREAMS: ${simulated.map(({ name }) => name).join(', ')}.`,
    );
  }
  return entries;
}

/** @returns the names of the secrets that the entries need. */
export function listUpstreamKeySettingNames(entries: readonly UpstreamEntry[]): string[] {
  return entries
    .filter(({ kind }) => !allProviders()[kind]?.keyless)
    .map(({ name }) => getUpstreamKeySettingName(name));
}

const openedBySettings = new WeakMap<Settings, readonly ConfiguredUpstream[]>();

/**
 * Opens the upstreams of UPSTREAMS in their order. Done once for the settings of an isolate.
 *
 * @returns an empty list if the setting is absent
 * @throws ApiError 500 that names a malformed entry, or one whose secret is missing or malformed
 */
export function createConfiguredUpstreams(settings: Settings): readonly ConfiguredUpstream[] {
  return getOrCreate(openedBySettings, settings, () =>
    parseUpstreams(settings).map((entry) => createConfiguredUpstream(entry, settings)),
  );
}

function createConfiguredUpstream(entry: UpstreamEntry, settings: Settings): ConfiguredUpstream {
  const kind = allProviders()[entry.kind];
  if (!kind) throw new TypeError(`The kind ${entry.kind} does not exist.`);
  const keyName = getUpstreamKeySettingName(entry.name);
  const secret = settings.upstreamKeys[keyName]?.trim();
  if (secret === undefined && !kind.keyless) {
    throw createMisconfiguredError(
      `The upstream "${entry.name}" has no ${keyName}. The operator can set it with: npx wrangler secret put ${keyName}`,
    );
  }
  if (secret !== undefined) registerSecrets(keyName, [secret, ...listSecretPartsToMask(secret)]);
  let endpoint: ProviderAdapter;
  try {
    endpoint = kind.createAdapter(entry as Record<string, unknown>, secret ?? '');
  } catch (thrown) {
    if (thrown instanceof InvalidKeyError)
      throw createMisconfiguredError(`${keyName} of the upstream "${entry.name}" ${thrown.message}.`);
    throw thrown;
  }
  const ids = new ModelIds(entry.models, settings.models, (model, id) => endpoint.idOf?.(model, id) ?? model);
  return {
    entry,
    name: entry.name,
    isSimulated: kind.simulated ?? false,
    isClaudeApi: kind.simulated || endpoint.isClaudeApi === true,
    idOf: (model) => ids.getIdAtUpstream(model),
    getClaudeModelName: (idThere) => ids.getClaudeModelName(idThere),
    findUnsupportedFeature: (call) => endpoint.lacks?.(call),
    isMissingModelBody: (text, model) => {
      const idThere = ids.getIdAtUpstream(model) ?? model;
      return endpoint.missesModel?.(text, idThere) ?? isMissingModelError(text, idThere);
    },
    forgetCredential: () => endpoint.forgetCredential?.(),
    prepare: (call, authorizing) =>
      adaptCallToUpstream(
        endpoint,
        call,
        call.model === undefined ? undefined : ids.getIdAtUpstream(call.model),
        authorizing,
      ),
  };
}

const NO_CHANGES: BodyChanges = {};

/** @returns the parts of a secret that must be masked: those that are sent by themselves, or must not be sent at all. */
function listSecretPartsToMask(secret: string): string[] {
  const account = parseJsonOrUndefined(secret);
  if (!isObject(account)) return secret.split(':');
  return [account.private_key, account.private_key_id].filter((part) => typeof part === 'string');
}

async function adaptCallToUpstream(
  endpoint: ProviderAdapter,
  call: ClaudeApiCall,
  idThere: string | undefined,
  authorizing: AuthorizationContext,
): Promise<UpstreamCall> {
  const { headers, changes }: CallAdaptation = endpoint.adapt?.(call) ?? { headers: call.headers, changes: NO_CHANGES };
  const isRenamed = idThere !== undefined && idThere !== call.model;
  const { method } = call;
  const url = endpoint.buildUrl(call, idThere);
  const body = call.body?.(isRenamed ? { model: JSON.stringify(idThere), ...changes } : changes);
  const authorized = endpoint.createAuthorizationHeaders({ method, url, headers, body }, authorizing);
  // Most providers create the header synchronously. Awaiting the value would add a microtask to every request.
  const credential: CallHeaders = authorized instanceof Promise ? await authorized : authorized;
  return { method, url, headers: { ...headers, ...credential }, body };
}

/** The models of one upstream, with the id of each one there. */
class ModelIds {
  /** The ids there, by the row's id, or by the name if there is no row. Undefined if every model is served. */
  readonly #served: ReadonlyMap<string, string | undefined> | undefined;
  readonly #names = new Map<string, string>();
  readonly #table: ModelTable;
  readonly #idOf: NonNullable<ProviderAdapter['idOf']>;

  constructor(models: UpstreamEntry['models'], table: ModelTable, idOf: NonNullable<ProviderAdapter['idOf']>) {
    this.#table = table;
    this.#idOf = idOf;
    this.#served = models && new Map(Object.entries(models).map(([name, id]) => [this.#toCanonicalModelKey(name), id]));
    for (const { id } of table.rows) {
      const there = this.getIdAtUpstream(id);
      if (there !== undefined && !this.#names.has(there)) this.#names.set(there, id);
    }
    for (const [name, id] of this.#served ?? []) if (id !== undefined) this.#names.set(id, name);
  }

  getIdAtUpstream(model: string): string | undefined {
    const key = this.#toCanonicalModelKey(model);
    if (this.#served && !this.#served.has(key)) return undefined;
    return this.#served?.get(key) ?? this.#idOf(model, key);
  }

  getClaudeModelName(idThere: string): string {
    return this.#names.get(idThere) ?? idThere;
  }

  /**
   * @returns the key of a model, which is the same for all of its names: an upstream serves a model by all names, or by none.
   */
  #toCanonicalModelKey(name: string): string {
    return this.#table.findRow(name)?.id ?? stripDate(name);
  }
}

function lowerCaseFirstLetter(message: string): string {
  return message.charAt(0).toLowerCase() + message.slice(1);
}
