/** Computes how long Durable Objects keep data that is not used any more. */

import { DAY_MS, HOUR_MS } from '../kit/async/durations.ts';
import type { Settings } from './settings.ts';

/** Milliseconds after which an object that cannot read its settings tries again. Without an alarm it would never wake. */
export const SETTINGS_RETRY_MS = HOUR_MS;

/**
 * @param settings reads the settings of the deployment
 * @returns milliseconds; undefined if the settings cannot be read. Then nothing may be deleted, because the operator's choice
 *   is unknown
 */
export function readRetentionMs(settings: () => Pick<Settings, 'RETENTION_DAYS'>): number | undefined {
  try {
    return settings().RETENTION_DAYS * DAY_MS;
  } catch {
    // Return undefined: every route reports the invalid setting, so the operator is informed anyway.
    return undefined;
  }
}
