import * as z from '../http/zod.ts';
import { checkDelivery, malformed } from './setting-faults.ts';
import { agentName, httpUrl, senderSecrets } from './setting-forms.ts';
import type { Settings } from './settings.ts';

/** The settings of one source of webhooks, whether Sluice comes with it or it is defined in code. */
export interface SourceSettings {
  /** A webhook is accepted if any of them has signed it. */
  secrets: readonly string[];
  deliverUrl: string | undefined;
  /** The agent that works on its events: `name` or `name@version`. */
  agent: string | undefined;
}

const sourceSchema = z.object({
  secret: z._default(senderSecrets, []),
  url: z.optional(httpUrl),
  agent: z.optional(agentName),
});

/** @returns the beginning of the names of a source's settings: `SUPPORT_DESK_WEBHOOK` for `support-desk`. */
export function sourcePrefix(source: string): string {
  return `${source.toUpperCase().replaceAll('-', '_')}_WEBHOOK`;
}

/**
 * Reads `<SOURCE>_WEBHOOK_SECRET`, `<SOURCE>_WEBHOOK_DELIVER_URL` and `<SOURCE>_WEBHOOK_AGENT`.
 *
 * @throws ApiError 500 that names the malformed setting
 */
export function sourceSettings(env: Record<string, unknown>, settings: Settings, source: string): SourceSettings {
  const prefix = sourcePrefix(source);
  const names = { secret: `${prefix}_SECRET`, url: `${prefix}_DELIVER_URL`, agent: `${prefix}_AGENT` };
  const given = Object.fromEntries(Object.entries(names).map(([member, name]) => [member, env[name] || undefined]));
  const result = sourceSchema.safeParse(given);
  if (!result.success) {
    const faults = result.error.issues.map(
      ({ path, message }) => `${names[path[0] as keyof typeof names]} (${message})`,
    );
    throw malformed(faults.join('; '));
  }
  checkDelivery(`${prefix}_DELIVER_URL`, result.data.url, settings, settings.development);
  const { secret: secrets, url: deliverUrl, agent } = result.data;
  return { secrets, deliverUrl, agent };
}
