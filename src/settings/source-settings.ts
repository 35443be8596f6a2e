import * as z from '../http/zod.ts';
import { checkDelivery, malformed } from './setting-faults.ts';
import { httpUrl, senderSecrets } from './setting-forms.ts';
import type { Settings } from './settings.ts';

/** The settings of one source of webhooks, shipped or defined in code. */
export interface SourceSettings {
  /** A webhook is accepted if any of them has signed it. */
  secrets: readonly string[];
  deliverUrl: string | undefined;
}

const sourceSchema = z.object({ secret: z._default(senderSecrets, []), url: z.optional(httpUrl) });

/** @returns the beginning of the names of a source's settings: `SUPPORT_DESK_WEBHOOK` for `support-desk`. */
export function sourcePrefix(source: string): string {
  return `${source.toUpperCase().replaceAll('-', '_')}_WEBHOOK`;
}

/**
 * Reads `<SOURCE>_WEBHOOK_SECRET` and `<SOURCE>_WEBHOOK_DELIVER_URL`.
 *
 * @throws ApiError 500 that names what is malformed
 */
export function sourceSettings(env: Record<string, unknown>, settings: Settings, source: string): SourceSettings {
  const prefix = sourcePrefix(source);
  const given = { secret: env[`${prefix}_SECRET`] || undefined, url: env[`${prefix}_DELIVER_URL`] || undefined };
  const result = sourceSchema.safeParse(given);
  if (!result.success) {
    const names = { secret: `${prefix}_SECRET`, url: `${prefix}_DELIVER_URL` };
    const faults = result.error.issues.map(({ path, message }) => `${names[path[0] as 'secret' | 'url']} (${message})`);
    throw malformed(faults.join('; '));
  }
  checkDelivery(`${prefix}_DELIVER_URL`, result.data.url, settings, settings.development);
  return { secrets: result.data.secret, deliverUrl: result.data.url };
}
