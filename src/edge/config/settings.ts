import { onlySchema } from '../auth/identity/only.ts';
import { type ModelOverride, ModelTable } from '../claude/models/models.ts';
import { type Prices, priceTable } from '../claude/models/price-settings.ts';
import { getOrCreate } from '../kit/cache/get-or-create.ts';
import { createMisconfiguredError } from '../kit/http/errors.ts';
import { findDeliverUrlFault, isLoopback, isUrlHost } from '../kit/http/headers/hosts.ts';
import { canHeaderBeForwarded } from '../kit/http/headers/not-forwarded.ts';
import { logSettingsWarning } from '../kit/http/log.ts';
import * as z from '../kit/http/zod.ts';
import { findMissingBindings } from '../kit/plugins/needed-bindings.ts';
import { getPluginMembers, memoizeFromPlugins } from '../kit/plugins/plugins.ts';
import { limitsSchema, poolLimitsSchema } from '../money/budget/limits.schema.ts';
import { messageDefaults } from './message-defaults.ts';
import { checkDelivery, createMalformedSettingsError, describeSchemaFaults } from './setting-faults.ts';
import {
  anyHttpUrl,
  commaListSetting,
  createCountSettingSchema,
  createJsonSettingSchema,
  httpUrl,
  MAX_DAYS,
  origins,
  secret,
  standardSecret,
} from './setting-schemas.ts';
import { findUnusedSettings } from './unused-settings.ts';
import { visitorsSchema } from './visitors.ts';

const hosts = z.pipe(
  commaListSetting,
  z.array(z.string().check(z.refine(isUrlHost, 'must be hosts such as hooks.example.com, separated by commas'))),
);

/** Where the Claude API is. */
export const CLAUDE_API = 'https://api.anthropic.com';

/** Every setting of the core: its meaning, its form and its default. */
export const settingsSchema = z.object({
  ANTHROPIC_API_KEY: z.createOptionalField(
    z.string().check(z.minLength(1)),
    'Secret. The key for the Claude API. Callers never see it.',
  ),
  ANTHROPIC_BASE_URL: z.addDescription(
    z._default(
      z.pipe(
        anyHttpUrl.check(z.refine((url) => !/[?#]/.test(url), 'must not contain a query')),
        // Remove `/v1`, which is part of the base URL in some clients and not in others. Sluice adds it to each path.
        z.transform((url) => url.replace(/\/+$/, '').replace(/\/v1$/, '')),
      ),
      CLAUDE_API,
    ),
    'The address of the Claude API, or the address of a gateway in front of it.',
  ),
  UPSTREAM: z.createOptionalField(
    z.enum(['anthropic', 'simulator']),
    '`anthropic` or `simulator`. In development without a key, the default is `simulator`. A deployment rejects `simulator`.',
  ),
  UPSTREAMS: z.addDescription(
    z._default(
      createJsonSettingSchema(
        z.array(z.looseObject({}, 'must be objects such as {"name":"east","kind":"bedrock"}')).check(z.maxLength(20)),
      ),
      [],
    ),
    'JSON: the upstreams, in the order in which Sluice tries them. Each upstream needs a secret `UPSTREAM_<NAME>_KEY`.',
  ),
  ALLOWED_ORIGINS: z.addDescription(
    z._default(origins, []),
    'Origins of web pages and apps that can call Sluice, separated by commas: `https://app.example.com`, `capacitor://localhost`. `*` allows all.',
  ),
  MAX_BODY_BYTES: z.addDescription(createCountSettingSchema(32 * 1024 * 1024, 1), 'Largest request body, in bytes.'),
  MAX_BATCH_BYTES: z.addDescription(
    createCountSettingSchema(100_000_000, 1, 256 * 1024 * 1024),
    'Largest batch request body, in bytes. Including the text of its prefixes, a batch can have 256 MB.',
  ),
  MAX_FILE_BYTES: z.addDescription(createCountSettingSchema(100_000_000, 1), 'Largest file upload, in bytes.'),
  FORWARD_HEADERS: z.addDescription(
    z._default(
      z.pipe(
        commaListSetting,
        z.array(
          z
            .string()
            .check(
              z.toLowerCase(),
              z.refine(canHeaderBeForwarded, 'must be headers that can be forwarded, such as helicone-*'),
            ),
        ),
      ),
      [],
    ),
    'Additional request headers that Sluice forwards: `helicone-*`, `anthropic-workspace-id`, …',
  ),
  UPSTREAM_USER_ID: z.createOptionalField(
    z.enum(['account']),
    '`account` sets `metadata.user_id` of each forwarded request to a hash of the account.',
  ),
  UPSTREAM_MAX_RETRIES: z.addDescription(
    createCountSettingSchema(2),
    'Maximum number of retries if a request fails before the first byte of its response.',
  ),
  UPSTREAM_TIMEOUT_MS: z.addDescription(
    createCountSettingSchema(600_000, 1),
    'Milliseconds to wait for response headers, including retries.',
  ),
  STREAM_HEADERS_MS: z.addDescription(
    createCountSettingSchema(300_000, 1),
    'Milliseconds to wait for a stream’s headers, for each attempt. `UPSTREAM_TIMEOUT_MS` limits all attempts together.',
  ),
  STREAM_IDLE_MS: z.addDescription(
    createCountSettingSchema(120_000, 1),
    'Milliseconds of silence after which a response counts as cut off. A caller that takes nothing for this long counts as gone.',
  ),
  HOLD_WAIT_MS: z.addDescription(
    createCountSettingSchema(30_000),
    'Milliseconds that a request waits for budget that other requests hold. 0: Sluice rejects such requests at once.',
  ),
  MODEL_ALIASES: z.addDescription(
    z._default(createJsonSettingSchema(z.catchall(z.object({}), z.string().check(z.minLength(1)))), {}),
    'JSON: custom names → model ids.',
  ),
  MESSAGE_DEFAULTS: z.createOptionalField(
    createJsonSettingSchema(messageDefaults),
    'JSON: default parameters of `POST /messages`: `{"model": …, "max_tokens": …, "system": …}`, or `{"agent": …}`.',
  ),
  PRICES: z.addDescription(
    z._default(createJsonSettingSchema(priceTable), {}),
    'JSON: model prices and features. They override or extend the built-in table.',
  ),
  SIGNING_SECRET: z.createOptionalField(
    secret,
    'Secret. Signs the tokens that this deployment issues; at least 32 characters.',
  ),
  SIGNING_SECRET_PREVIOUS: z.createOptionalField(
    secret,
    'Secret. The previous signing secret. Sluice accepts tokens signed with it until you delete this setting.',
  ),
  CREDENTIALS: z.createOptionalField(
    z.enum(['required']),
    '`required`: a development server checks credentials and origins, as a deployment always does.',
  ),
  JWKS_URL: z.createOptionalField(
    anyHttpUrl,
    'Address of your identity provider’s keys. Requires the next two settings, and a limit in USD in `DEFAULT_LIMITS`.',
  ),
  JWT_ISSUER: z.createOptionalField(z.string(), 'The required `iss` in the provider’s tokens.'),
  JWT_AUDIENCE: z.createOptionalField(z.string(), 'The required `aud` in the provider’s tokens.'),
  JWT_ADMIN: z.addDescription(
    z._default(z.enum(['true', 'false']), 'false'),
    '`true`: accept `admin` and the scopes that begin with `admin:` in a provider’s token. Anyone who can grant `admin` at the provider can create admins.',
  ),
  TOKEN_LOCATIONS: z.addDescription(
    z._default(z.enum(['true', 'false']), 'true'),
    '`false`: do not record from which countries, networks and kinds of clients tokens are used. Recorded data remains for `RETENTION_DAYS`.',
  ),
  JWT_GROUP_CLAIM: z.createOptionalField(
    z.string().check(z.minLength(1)),
    'The claim in a provider’s token that contains the account’s group: one name, alone or in an array. Tokens without it have no group. A group that an admin has set takes precedence.',
  ),
  JWT_ONLY_CLAIM: z.createOptionalField(
    z.string().check(z.minLength(1)),
    'The claim in an identity provider’s token that lists the agents the token can use, as an array or a space-separated string. All of the provider’s tokens are then restricted tokens.',
  ),
  JWT_ONLY: z.createOptionalField(
    createJsonSettingSchema(onlySchema),
    'JSON: the restrictions for a provider’s tokens without that claim: `{"agents": ["support"]}`. Without JWT_ONLY_CLAIM, they apply to all of the provider’s tokens.',
  ),
  VISITORS: z.createOptionalField(
    createJsonSettingSchema(visitorsSchema),
    'JSON: the restrictions and limits for visitors without a login: `{"only": {"agents": ["support"], "origins": ["https://shop.example"]}, "pool": {"usd_per_day": 5}}`.',
  ),
  TURNSTILE_SECRET: z.createOptionalField(
    z.string().check(z.minLength(1)),
    'Secret. The secret key of the Turnstile widget on your pages for visitors.',
  ),
  DEFAULT_LIMITS: z.addDescription(
    z._default(createJsonSettingSchema(limitsSchema), {}),
    'JSON: the limits for accounts without their own limits.',
  ),
  DEPLOYMENT_LIMITS: z.createOptionalField(
    createJsonSettingSchema(poolLimitsSchema),
    'JSON: limits in USD for all accounts together. With `{}`, an admin can set them later.',
  ),
  READS_PER_MINUTE: z.addDescription(
    createCountSettingSchema(600, 1),
    'Maximum number of requests per minute that an account can send to routes that call no model. Requests with `admin`, or a scope that begins with `admin:`, do not count. Requests that stop, cancel, delete, revoke or renew do not count either.',
  ),
  BOUND_READS_PER_MINUTE: z.addDescription(
    createCountSettingSchema(120, 1),
    'The same limit for all of an account’s restricted tokens together, and for each visitor.',
  ),
  RETENTION_DAYS: z.addDescription(
    createCountSettingSchema(30, 1, MAX_DAYS),
    'Days for which the ledger stores requests. Also applies to conversations without `retention_seconds`.',
  ),
  JURISDICTION: z.createOptionalField(
    z.enum(['eu', 'us']),
    'The jurisdiction in which Durable Objects store data: `eu` or `us`. You cannot change it after the first deploy, because it is part of each object’s id.',
  ),
  DELIVER_HOSTS: z.addDescription(
    z._default(hosts, []),
    'Additional hosts to which Sluice can deliver results, separated by commas.',
  ),
  ALERT_URL: z.createOptionalField(
    httpUrl,
    'Address to which Sluice sends signed alerts. Without it, Sluice only lists alerts.',
  ),
  BATCH_DELIVER_URL: z.createOptionalField(
    httpUrl,
    'Address for `batch.ended` events of batches without a `deliver_url`.',
  ),
  TURN_DELIVER_URL: z.createOptionalField(
    httpUrl,
    'Address for events of background turns and of calls that wait for approval, if the request has no `deliver_url`.',
  ),
  DELIVERY_SIGNING_SECRET: z.createOptionalField(
    standardSecret,
    'Secret. Signs deliveries according to Standard Webhooks: `whsec_…`.',
  ),
  TOOL_HOSTS: z.addDescription(
    z._default(hosts, []),
    'Hosts of tools that Sluice calls (`run`), separated by commas. Include the port if it is not 443.',
  ),
  TOOL_SIGNING_SECRET: z.createOptionalField(
    standardSecret,
    'Secret. Signs the calls to these tools according to Standard Webhooks: `whsec_…`. Without it, Sluice calls only MCP servers.',
  ),
  SIMULATOR_TTFT_MS: z.addDescription(createCountSettingSchema(300), 'Milliseconds until the simulator’s first token.'),
  SIMULATOR_TOKENS_PER_SECOND: z.addDescription(
    createCountSettingSchema(80),
    'Speed of the simulator’s responses. 0: no delay.',
  ),
  SIMULATOR_BATCH_MS: z.addDescription(
    createCountSettingSchema(5000),
    'Duration of a simulated batch, in milliseconds.',
  ),
});

/**
 * Every setting of a deployment by its name, first those of the core, then those of plugins. The table of the guide is compared
 * with it.
 */
export const settingsShape = memoizeFromPlugins((): Readonly<Record<string, z.ZodMiniType>> => {
  return Object.assign({}, settingsSchema.shape, ...getPluginMembers('settings').map(({ schema }) => schema?.shape));
});

/** The parsed settings of a deployment. Plugins parse their own settings from `vars`. */
export interface Settings extends z.output<typeof settingsSchema> {
  /** All variables and bindings that are set, without empty strings. */
  vars: Readonly<Record<string, unknown>>;
  /** Whether this is a server on its developer's machine, which needs no credential. */
  development: boolean;
  /** Whether a request without a credential belongs to the developer: in development, unless CREDENTIALS is `required`. */
  isOpen: boolean;
  /** Whether there is a key that costs money. */
  hasKey: boolean;
  models: ModelTable;
  /** The secrets of the entries of UPSTREAMS, by their names: `UPSTREAM_EAST_KEY`. */
  upstreamKeys: Readonly<Record<string, string>>;
  /** The namespace of KV where the simulator keeps its batches and files; undefined outside development. */
  simulatorStore: unknown;
}

interface PluginSettings {
  /** Its own settings: the meaning, the form and the default of each, as in `settingsSchema`. */
  schema?: z.ZodMiniObject;
  /** @throws ApiError 500 that names a setting with which the plugin cannot work, never its value */
  check?(settings: Settings): unknown;
}

declare module '../kit/plugins/plugins.ts' {
  interface Plugin {
    /** The settings of the plugin, and a check of them at the start. */
    readonly settings?: PluginSettings;
  }
}

let parsedSettings = new WeakMap<object, Settings>();

/** The prices of the Worker's own code. Its Durable Objects need them, too, and may start without an app. */
let sharedPrices: Prices | undefined;

/**
 * Adds the prices of the Worker's own code to the model table. Rows of the setting PRICES override them.
 *
 * @throws Error for a malformed table, and for a second table that differs from the first
 */
export function addWorkerPrices(prices: Prices): void {
  const { data, error } = priceTable.safeParse(prices);
  if (error) throw new Error(`prices: ${describeSchemaFaults(error)}`);
  if (sharedPrices && JSON.stringify(sharedPrices) !== JSON.stringify(data)) {
    throw new Error(
      'createApp was called with different `prices` in this Worker, and its accounts can use only one table. Pass the same prices to every call.',
    );
  }
  sharedPrices = data;
  parsedSettings = new WeakMap();
}

let isDevelopment = false;

/** Makes this a development server: it answers its own machine without a credential. `development.ts` alone calls it. */
export function enableDevelopmentMode(): void {
  isDevelopment = true;
}

/**
 * Parses the settings once for each `env` object.
 *
 * @param development whether they are those of a development server; default: as this Worker was built
 * @throws ApiError 500 that names each malformed setting, never its value
 */
export function parseSettingsOnce(env: Record<string, unknown>, development = isDevelopment): Settings {
  return getOrCreate(parsedSettings, env, () => {
    const settings = parseSettings(env, development);
    [...findMissingBindings(env), ...findUnusedSettings(env)].map(logSettingsWarning);
    return settings;
  });
}

/**
 * Parses settings from any record of strings. Empty strings count as absent.
 *
 * @param development whether they are those of a development server; default: as this Worker was built
 * @throws ApiError 500 that names each malformed setting, never its value
 */
export function parseSettings(env: Record<string, unknown>, development = isDevelopment): Settings {
  const vars = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''));
  const plugins = getPluginMembers('settings');
  const { data: core, error } = settingsSchema.safeParse(vars);
  const faults = plugins.flatMap(({ schema }) => schema?.safeParse(vars).error?.issues ?? []);
  if (!core || faults.length > 0)
    throw createMalformedSettingsError(describeSchemaFaults({ issues: [...(error?.issues ?? []), ...faults] }));
  if (core.UPSTREAM === 'simulator' && !development) {
    throw createMisconfiguredError('UPSTREAM=simulator is for development only. Remove it and set ANTHROPIC_API_KEY.');
  }
  if (core.UPSTREAM === 'simulator' && core.UPSTREAMS.length > 0) {
    throw createMisconfiguredError('UPSTREAM=simulator and UPSTREAMS contradict each other. Remove one of them.');
  }
  const { JWKS_URL, JWT_ISSUER, JWT_AUDIENCE, DEFAULT_LIMITS } = core;
  if (JWKS_URL !== undefined && (JWT_ISSUER === undefined || JWT_AUDIENCE === undefined)) {
    throw createMisconfiguredError('JWKS_URL requires JWT_ISSUER and JWT_AUDIENCE. Set all three.');
  }
  const isCapped = Object.keys(DEFAULT_LIMITS).some((name) => name.startsWith('usd_'));
  if (JWKS_URL !== undefined && !isCapped) {
    throw createMisconfiguredError(
      'JWKS_URL requires a limit in USD in DEFAULT_LIMITS, such as {"usd_per_day":1}, because anyone who can log in could spend without a limit.',
    );
  }
  if (!development) rejectUnencryptedAddresses(core);
  for (const name of ['ALERT_URL', 'BATCH_DELIVER_URL', 'TURN_DELIVER_URL'] as const) {
    checkDelivery(name, core[name], core, development);
  }
  const upstreamKeys = Object.fromEntries(
    Object.entries(vars).filter((pair): pair is [string, string] => {
      return isUpstreamKey(pair[0]) && typeof pair[1] === 'string';
    }),
  );
  const settings: Settings = {
    ...core,
    vars,
    // Ignore the jurisdiction in development, because the local runtime throws if one is set:
    // https://github.com/cloudflare/workerd/issues/4167
    JURISDICTION: development ? undefined : core.JURISDICTION,
    development,
    isOpen: development && core.CREDENTIALS === undefined,
    hasKey: core.ANTHROPIC_API_KEY !== undefined || Object.keys(upstreamKeys).length > 0,
    simulatorStore: development ? env.STORE : undefined,
    models: new ModelTable({ ...sharedPrices, ...core.PRICES } as Record<string, ModelOverride>, core.MODEL_ALIASES),
    upstreamKeys,
  };
  for (const { check } of plugins) check?.(settings);
  return settings;
}

/** @returns whether this is the name of the secret of an entry of UPSTREAMS. */
export function isUpstreamKey(name: string): boolean {
  return /^UPSTREAM_[A-Z0-9_]+_KEY$/.test(name);
}

/**
 * Refuses addresses without encryption: the API key, or the keys that verify credentials, could be read or changed on their
 * way.
 *
 * @throws ApiError 500 that names the setting
 */
function rejectUnencryptedAddresses({ ANTHROPIC_BASE_URL, JWKS_URL }: z.output<typeof settingsSchema>): void {
  if (!ANTHROPIC_BASE_URL.startsWith('https:') && !isLoopback(ANTHROPIC_BASE_URL)) {
    throw createMalformedSettingsError('ANTHROPIC_BASE_URL (must be an https URL)');
  }
  const fault = JWKS_URL === undefined || isLoopback(JWKS_URL) ? undefined : findDeliverUrlFault(JWKS_URL, false);
  if (fault !== undefined) throw createMalformedSettingsError(`JWKS_URL (${fault})`);
}
