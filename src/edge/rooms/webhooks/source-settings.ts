import { readerOfSettings } from '../../gate/settings/reader-of-settings.ts';
import { checkDelivery, faultsOf, malformed } from '../../gate/settings/setting-faults.ts';
import { agentName, httpUrl, jsonSetting, senderSecrets, standardSecrets } from '../../gate/settings/setting-forms.ts';
import type { Settings } from '../../gate/settings/settings.ts';
import * as z from '../../kit/http/zod.ts';

/** @returns whether this can be the name of the secret of an entry of WEBHOOKS. */
export const isWebhookSecret = (name: string): boolean => /^[A-Z0-9_]+_WEBHOOK_SECRET$/.test(name);

const sourceEntry = z.strictObject({
  source: z.string(),
  secret: z.string().check(z.refine(isWebhookSecret, 'must be a name such as GITHUB_WEBHOOK_SECRET')),
  deliver_url: z.optional(httpUrl),
  agent: z.optional(agentName),
});
type SourceEntry = z.output<typeof sourceEntry>;

export const webhookSettings = z.object({
  WEBHOOKS: z.described(
    z._default(
      jsonSetting(
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
    'JSON: who may send webhooks, each with the name of its secret: [{"source":"github","secret":"GITHUB_WEBHOOK_SECRET"}].',
  ),
});

/**
 * Reads WEBHOOKS with the secrets that it names: a webhook is accepted if any of them has signed it.
 *
 * @returns the sources by their names, and what to write in place of settings of the last release, without their values
 * @throws ApiError 500 that names the malformed setting
 */
export const sourcesOf = readerOfSettings((settings: Settings) => {
  const { given, development } = settings;
  const { data: named, error: fault } = webhookSettings.safeParse(given);
  if (fault) throw malformed(faultsOf(fault));
  const old = unnamedEntries(given, named.WEBHOOKS);
  const sources = new Map<string, SourceEntry & { secrets: readonly string[] }>();
  for (const entry of [...named.WEBHOOKS, ...old]) {
    const { source, secret } = entry;
    if (sources.has(source)) continue;
    checkDelivery(`WEBHOOKS.${source}.deliver_url`, entry.deliver_url, settings, development);
    const form = source === 'standard' ? standardSecrets : senderSecrets;
    const { data: secrets, error } = form.safeParse(given[secret] ?? '');
    if (error) throw malformed(`${secret}.${faultsOf(error)}`);
    sources.set(source, { ...entry, secrets });
  }
  // What `npm start` makes is enough to try a source in development.
  const wrong = old.filter(({ deliver_url, agent }) => !development || deliver_url || agent);
  const words = ({ source, secret }: SourceEntry) =>
    `The next release needs {"source":"${source}","secret":"${secret}"} in WEBHOOKS, with deliver_url and agent.`;
  return { sources, outdated: wrong.map(words) };
});

/** @returns entries for other secrets, with the settings that the last release read beside each: `<SOURCE>_WEBHOOK_…`. */
function unnamedEntries(given: Readonly<Record<string, unknown>>, named: readonly SourceEntry[]): SourceEntry[] {
  return Object.keys(given)
    .filter((name) => isWebhookSecret(name) && !named.some(({ secret }) => secret === name))
    .map((secret) => ({
      source: secret.slice(0, -'_WEBHOOK_SECRET'.length).toLowerCase().replaceAll('_', '-'),
      secret,
      deliver_url: given[secret.replace(/SECRET$/, 'DELIVER_URL')] as string | undefined,
      agent: given[secret.replace(/SECRET$/, 'AGENT')] as string | undefined,
    }));
}
