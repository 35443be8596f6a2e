import { createMalformedSettingsError } from '../../config/setting-faults.ts';
import type { Settings } from '../../config/settings.ts';
import { createMisconfiguredError } from '../../kit/http/errors.ts';

/** @returns whether Turnstile accepts or refuses everything by this secret. Cloudflare has published these for tests. */
export function isTurnstileTestSecret(secret: string): boolean {
  return /^[123]x0{30,}AA$/.test(secret);
}

/** @throws ApiError 500 for settings with which visitors could do more than the operator intends */
export function validateVisitorSettings(settings: Settings): void {
  const { VISITORS, TURNSTILE_SECRET: secret, ALLOWED_ORIGINS, development } = settings;
  if (!VISITORS) return;
  if (settings.SIGNING_SECRET === undefined)
    throw createMisconfiguredError('VISITORS requires SIGNING_SECRET, which signs visitors’ tokens. Set both.');
  if (VISITORS.turnstile && secret === undefined) {
    throw createMisconfiguredError(
      'VISITORS requires TURNSTILE_SECRET, the secret of your Turnstile widget. Set both.',
    );
  }
  if (development) return;
  if (secret !== undefined && isTurnstileTestSecret(secret)) {
    throw createMisconfiguredError(
      'TURNSTILE_SECRET is a test secret, which accepts everyone. Set the secret of your widget.',
    );
  }
  const other = VISITORS.only.origins?.find((one) => !ALLOWED_ORIGINS.includes('*') && !ALLOWED_ORIGINS.includes(one));
  if (other !== undefined) {
    throw createMalformedSettingsError(
      `VISITORS (only.origins: ${other} is not in ALLOWED_ORIGINS, so its pages could not send requests)`,
    );
  }
}
