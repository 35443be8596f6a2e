import type { Settings } from '../src/edge/config/settings.ts';
import { sourcesOf } from '../src/edge/plugins/webhooks/source-settings.ts';

/**
 * Finds the secrets that entries of WEBHOOKS name and no setting has.
 *
 * @throws ApiError 500 that names a malformed setting
 */
export function missingWebhookSecrets(settings: Settings): string[] {
  return [...sourcesOf(settings).values()].flatMap(({ secret, secrets }) => (secrets.length === 0 ? [secret] : []));
}
