/** The setting VISITORS: what people without a login may do. */

import { isGroup } from '../../gate/identity/identity.ts';
import { onlySchema } from '../../gate/identity/only.ts';
import { malformed } from '../../gate/settings/setting-faults.ts';
import { DAY_MS } from '../../kit/async/durations.ts';
import { misconfigured } from '../../kit/http/errors.ts';
import { deliverFault } from '../../kit/http/headers/hosts.ts';
import * as z from '../../kit/http/zod.ts';
import { limitsSchema, poolLimitsSchema } from '../../money/budget/limits.schema.ts';

/** It counts from when the widget was solved, which may be five minutes ago. */
const LEAST_VISIT_S = 600;
/** The longest that a visitor may be known, in seconds. */
export const LONGEST_VISIT_S = (30 * DAY_MS) / 1_000;

export const visitorsSchema = z.strictObject({
  /** Which pages may be visited is never left open. */
  only: onlySchema.check(
    z.refine(({ origins }) => origins !== undefined, 'must name `origins`: the pages that people visit'),
  ),
  /** The limits of each of them. */
  limits: z._default(limitsSchema, {}),
  /** The group whose pool pays for all of them. */
  group: z._default(z.custom<string>(isGroup, 'must be 1 to 128 characters'), 'visitors'),
  /** The limits of that pool, unless an admin has set others. */
  pool: poolLimitsSchema.check(
    z.refine((limits) => Object.keys(limits).some((name) => name.startsWith('usd_')), {
      error: 'must have a limit in USD, such as {"usd_per_day":5}: it is the budget of all visitors',
    }),
  ),
  /** How long a visitor is known. */
  seconds: z._default(z.int().check(z.gte(LEAST_VISIT_S), z.lte(LONGEST_VISIT_S)), 86_400),
  turnstile: z._default(z.boolean(), true),
});

/** Settings that visitors need. */
interface VisitorSettings {
  VISITORS?: z.output<typeof visitorsSchema> | undefined;
  VISITORS_WITHOUT_TURNSTILE: 'true' | 'false';
  TURNSTILE_SECRET?: string | undefined;
  TURNSTILE_VERIFY_URL: string;
  SIGNING_SECRET?: string | undefined;
  ALLOWED_ORIGINS: readonly string[];
}

/** @returns whether Turnstile accepts or refuses everything by this secret. Cloudflare has published these for tests. */
export function isTurnstileTest(secret: string): boolean {
  return /^[123]x0{30,}AA$/.test(secret);
}

/** @throws ApiError 500 for settings with which strangers could do more than the operator has said */
export function checkVisitors(settings: VisitorSettings, development: boolean): void {
  const { VISITORS, TURNSTILE_SECRET: secret, ALLOWED_ORIGINS } = settings;
  if (!VISITORS) return;
  if (settings.SIGNING_SECRET === undefined)
    throw misconfigured('VISITORS needs SIGNING_SECRET, which signs their tokens.');
  if (VISITORS.turnstile && secret === undefined) {
    throw misconfigured('VISITORS needs TURNSTILE_SECRET, the secret of your Turnstile widget.');
  }
  if (!VISITORS.turnstile && settings.VISITORS_WITHOUT_TURNSTILE !== 'true') {
    throw misconfigured(
      'VISITORS says "turnstile": false, so that programs can be visitors, too. If you mean it, also set VISITORS_WITHOUT_TURNSTILE=true.',
    );
  }
  if (development) return;
  if (secret !== undefined && isTurnstileTest(secret)) {
    throw misconfigured(
      'TURNSTILE_SECRET is one of those for tests, which let everybody pass. Set that of your widget.',
    );
  }
  const fault = deliverFault(settings.TURNSTILE_VERIFY_URL, false);
  if (fault !== undefined) throw malformed(`TURNSTILE_VERIFY_URL (${fault})`);
  const other = VISITORS.only.origins?.find((one) => !ALLOWED_ORIGINS.includes('*') && !ALLOWED_ORIGINS.includes(one));
  if (other !== undefined) {
    throw malformed(`VISITORS (only.origins: ${other} is none of ALLOWED_ORIGINS, so its pages could not ask)`);
  }
}
