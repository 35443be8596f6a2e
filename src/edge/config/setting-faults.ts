import { type ApiError, createMisconfiguredError } from '../kit/http/errors.ts';
import { findDeliverUrlFault } from '../kit/http/headers/hosts.ts';
import type * as z from '../kit/http/zod.ts';

/** @returns what is wrong with a setting or a table, with the path of each fault. */
export function describeSchemaFaults({ issues }: Pick<z.core.$ZodError, 'issues'>): string {
  return [...new Set(issues.map(({ path, message }) => `${path.join('.')} (${message})`))].join('; ');
}

export function createMalformedSettingsError(faults: string): ApiError {
  return createMisconfiguredError(`This deployment has malformed settings: ${faults}. Its operator must correct them.`);
}

/** @throws ApiError 500 that names a setting with which deliveries would fail */
export function checkDelivery(
  name: string,
  url: unknown,
  settings: { DELIVERY_SIGNING_SECRET?: string | undefined },
  development: boolean,
): void {
  if (typeof url !== 'string') return;
  const fault = findDeliverUrlFault(url, development);
  if (fault !== undefined) throw createMalformedSettingsError(`${name} (${fault})`);
  if (settings.DELIVERY_SIGNING_SECRET === undefined) {
    throw createMisconfiguredError(
      `${name} requires DELIVERY_SIGNING_SECRET, because deliveries are signed. Set both.`,
    );
  }
}
