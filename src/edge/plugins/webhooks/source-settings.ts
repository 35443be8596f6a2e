import { memoizeBySettings } from '../../config/memoize-by-settings.ts';
import { checkDelivery, createMalformedSettingsError, describeSchemaFaults } from '../../config/setting-faults.ts';
import {
  agentName,
  classifierName,
  createJsonSettingSchema,
  httpUrl,
  senderSecrets,
  standardSecrets,
} from '../../config/setting-schemas.ts';
import type { Settings } from '../../config/settings.ts';
import * as z from '../../kit/http/zod.ts';
import { SHIPPED_SOURCES } from './shipped-sources.ts';
import { isValidCustomSourceName, SOURCE_NAME_FAULT } from './sources/define-webhook.ts';
import { jsonPointer } from './sources/json-pointer.ts';

const isShippedSource = (source: string): boolean => SHIPPED_SOURCES.some((name) => name === source);

/** @returns whether this can be the name of the secret of an entry of WEBHOOKS. */
export const isWebhookSecretName = (name: string): boolean => /^[A-Z0-9_]+_WEBHOOK_SECRET$/.test(name);

/** The parts of an entry that define a source which no code defines. */
const DEFINING = ['id', 'text', 'subject'] as const;

const hmacOptions = z.strictObject({
  header: z.string().check(z.regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$/, 'must be the name of a header')),
  algorithm: z._default(
    z.enum(['SHA-256', 'SHA-1', 'SHA-384', 'SHA-512'], 'must be SHA-1, SHA-256, SHA-384 or SHA-512'),
    'SHA-256',
  ),
  encoding: z._default(z.enum(['hex', 'base64'], 'must be hex or base64'), 'hex'),
  prefix: z._default(z.string().check(z.maxLength(64)), ''),
});

const sourceEntry = z
  .strictObject({
    source: z.string(),
    secret: z.string().check(z.refine(isWebhookSecretName, 'must be a name such as GITHUB_WEBHOOK_SECRET')),
    deliver_url: z.optional(httpUrl),
    agent: z.optional(agentName),
    classifier: z.optional(classifierName),
    verify: z.optional(z.strictObject({ hmac: hmacOptions }, 'must be {"hmac": {"header": …}}')),
    id: z.optional(jsonPointer),
    text: z.optional(
      z
        .array(jsonPointer, 'must be a list of JSON Pointers')
        .check(
          z.minLength(1, 'must have at least one JSON Pointer'),
          z.maxLength(8, 'must have at most 8 JSON Pointers'),
        ),
    ),
    subject: z.optional(jsonPointer),
  })
  .check((context) => {
    const { value, issues } = context;
    const addEntryIssue = (member: string, message: string) =>
      issues.push({ code: 'custom', input: value, path: [member], message, continue: true });
    const { source, agent, classifier, verify, text } = value;
    if (agent !== undefined && classifier !== undefined)
      addEntryIssue('classifier', 'cannot be set together with an agent: remove one of them');
    if (verify === undefined) {
      for (const member of DEFINING)
        if (value[member] !== undefined) addEntryIssue(member, 'requires `verify`: set both');
      return;
    }
    if (isShippedSource(source))
      addEntryIssue('verify', `cannot be set for ${source}, which Sluice verifies by itself: remove it`);
    else if (!isValidCustomSourceName(source)) addEntryIssue('source', SOURCE_NAME_FAULT);
    if (text === undefined) addEntryIssue('text', 'must list the JSON Pointers of the text to label');
  });
export type SourceEntry = z.output<typeof sourceEntry>;

export const webhookSettings = z.object({
  WEBHOOKS: z.addDescription(
    z._default(
      createJsonSettingSchema(
        z
          .array(sourceEntry)
          .check(
            z.refine(
              (all) => new Set(all.map(({ source }) => source)).size === all.length,
              'must name each source once',
            ),
          ),
      ),
      [],
    ),
    'JSON: the webhook sources, each with the name of its secret: `[{"source":"github","secret":"GITHUB_WEBHOOK_SECRET"}]`.',
  ),
});

/**
 * Reads WEBHOOKS with the secrets that it names: a webhook is accepted if it is signed with any of them. A built-in source that
 * it does not name is enabled by its own secret, such as `GITHUB_WEBHOOK_SECRET`: its results are stored, and not delivered.
 *
 * @returns the sources by their names
 * @throws ApiError 500 that names the malformed setting
 */
export const sourcesOf = memoizeBySettings((settings: Settings) => {
  const { vars, development } = settings;
  const { data: named, error: fault } = webhookSettings.safeParse(vars);
  if (fault) throw createMalformedSettingsError(describeSchemaFaults(fault));
  const sources = new Map<string, SourceEntry & { secrets: readonly string[] }>();
  for (const entry of [...named.WEBHOOKS, ...createEntriesForUnnamedSources(vars, named.WEBHOOKS)]) {
    const { source, secret } = entry;
    checkDelivery(`WEBHOOKS.${source}.deliver_url`, entry.deliver_url, settings, development);
    const form = source === 'standard' ? standardSecrets : senderSecrets;
    const { data: secrets, error } = form.safeParse(vars[secret] ?? '');
    if (error) throw createMalformedSettingsError(`${secret}.${describeSchemaFaults(error)}`);
    sources.set(source, { ...entry, secrets });
  }
  return sources;
});

function getShippedSourceSecretName(source: string): string {
  return `${source.toUpperCase()}_WEBHOOK_SECRET`;
}

/**
 * @returns the name of the setting that contains the secret of a source; null for a source of the Worker's code without an entry
 */
export function findSecretName(settings: Settings, source: string): string | null {
  return (
    sourcesOf(settings).get(source)?.secret ?? (isShippedSource(source) ? getShippedSourceSecretName(source) : null)
  );
}

/** @returns entries for the shipped sources that no entry names, and whose own secret is set and belongs to no entry */
function createEntriesForUnnamedSources(
  vars: Readonly<Record<string, unknown>>,
  named: readonly SourceEntry[],
): SourceEntry[] {
  return SHIPPED_SOURCES.map((source) => ({ source, secret: getShippedSourceSecretName(source) })).filter(
    ({ source, secret }) =>
      vars[secret] !== undefined && !named.some((entry) => entry.source === source || entry.secret === secret),
  );
}
