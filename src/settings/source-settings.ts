import * as z from '../http/zod.ts';
import { checkDelivery, faultsOf, malformed } from './setting-faults.ts';
import { agentName, httpUrl, senderSecrets, standardSecrets } from './setting-forms.ts';

/** Matches a source's name. It has no underscore, because in an event's id the source ends at the first one. */
export const SOURCE_NAME = /^[a-z][a-z0-9-]{0,39}$/;

/** @returns whether this can be the name of the secret of an entry of WEBHOOKS. */
export const isWebhookSecret = (name: string): boolean => /^[A-Z][A-Z0-9_]*_WEBHOOK_SECRET$/.test(name);

const sourceEntry = z.strictObject({
  source: z.string().check(z.regex(SOURCE_NAME, 'must be the name of a source, such as "github"')),
  secret: z.string().check(z.refine(isWebhookSecret, 'must name a secret, such as GITHUB_WEBHOOK_SECRET')),
  deliver_url: z.optional(httpUrl),
  agent: z.optional(agentName),
});
type SourceEntry = z.output<typeof sourceEntry>;

export const webhooksSchema = z
  .array(sourceEntry)
  .check(z.refine((all) => new Set(all.map(({ source }) => source)).size === all.length, 'must name each source once'));

/**
 * Reads WEBHOOKS with the secrets that it names: a webhook is accepted if any of them has signed it.
 *
 * @returns the sources by their names, and what to write in place of settings of the last release, without their values
 * @throws ApiError 500 that names the malformed setting
 */
export function readSources(
  given: Readonly<Record<string, unknown>>,
  settings: { WEBHOOKS: readonly SourceEntry[]; DELIVERY_SIGNING_SECRET?: string | undefined },
  development: boolean,
) {
  const old = unnamedEntries(given, settings.WEBHOOKS);
  const entries = new Map([...old, ...settings.WEBHOOKS].map((entry) => [entry.source, entry]));
  const sources = new Map<string, SourceEntry & { secrets: readonly string[] }>();
  for (const [source, entry] of entries) {
    checkDelivery(`WEBHOOKS.${source}.deliver_url`, entry.deliver_url, settings, development);
    const form = z._default(source === 'standard' ? standardSecrets : senderSecrets, []);
    const { data, error } = z.object({ [entry.secret]: form }).safeParse(given);
    if (error) throw malformed(faultsOf(error));
    sources.set(source, { ...entry, secrets: data[entry.secret] ?? [] });
  }
  // What `npm start` makes is enough to try a source in development.
  const wrong = old.filter(({ deliver_url, agent }) => !development || deliver_url || agent);
  const words = `The next release opens webhooks by WEBHOOKS alone: write ${JSON.stringify(wrong, ['source', 'secret'])} there, each with its "deliver_url" and "agent".`;
  return { sources, outdated: wrong.length > 0 ? [words] : [] };
}

/** @returns entries for other secrets, with the settings that the last release read beside each: `<SOURCE>_WEBHOOK_…`. */
function unnamedEntries(given: Readonly<Record<string, unknown>>, named: readonly SourceEntry[]): SourceEntry[] {
  return Object.keys(given)
    .filter((name) => isWebhookSecret(name) && !named.some(({ secret }) => secret === name))
    .map((secret) => ({
      source: secret.replace('_WEBHOOK_SECRET', '').toLowerCase().replaceAll('_', '-'),
      secret,
      deliver_url: given[secret.replace(/SECRET$/, 'DELIVER_URL')] as string | undefined,
      agent: given[secret.replace(/SECRET$/, 'AGENT')] as string | undefined,
    }));
}
