import { createMalformedSettingsError } from '../../config/setting-faults.ts';
import type { Settings } from '../../config/settings.ts';
import { createMisconfiguredError } from '../../kit/http/errors.ts';
import { findDeliverUrlFault } from '../../kit/http/headers/hosts.ts';

/** @returns whether Turnstile accepts or refuses everything by this secret. Cloudflare has published these for tests. */
export function isTurnstileTestSecret(secret: string): boolean {
  return /^[123]x0{30,}AA$/.test(secret);
}

/** @throws ApiError 500 for settings with which strangers could do more than the operator has said */
export function validateVisitorSettings(settings: Settings): void {
  const { VISITORS, TURNSTILE_SECRET: secret, ALLOWED_ORIGINS, development } = settings;
  if (!VISITORS) return;
  if (settings.SIGNING_SECRET === undefined)
    throw createMisconfiguredError('VISITORS needs SIGNING_SECRET, which signs their tokens.');
  if (VISITORS.turnstile && secret === undefined) {
    throw createMisconfiguredError('VISITORS needs TURNSTILE_SECRET, the secret of your Turnstile widget.');
  }
  if (development) return;
  if (secret !== undefined && isTurnstileTestSecret(secret)) {
    throw createMisconfiguredError(
      'TURNSTILE_SECRET is one of those for tests, which let everybody pass. Set that of your widget.',
    );
  }
  const fault = findDeliverUrlFault(settings.TURNSTILE_VERIFY_URL, false);
  if (fault !== undefined) throw createMalformedSettingsError(`TURNSTILE_VERIFY_URL (${fault})`);
  const other = VISITORS.only.origins?.find((one) => !ALLOWED_ORIGINS.includes('*') && !ALLOWED_ORIGINS.includes(one));
  if (other !== undefined) {
    throw createMalformedSettingsError(
      `VISITORS (only.origins: ${other} is none of ALLOWED_ORIGINS, so its pages could not ask)`,
    );
  }
}
