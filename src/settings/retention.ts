/** How long objects keep what is over, by the settings as the app reads them. */

import { DAY_MS, HOUR_MS } from '../async/durations.ts';
import type { Settings } from './settings.ts';

/** An object whose settings cannot be read looks again after so long: no alarm may be its last. */
export const UNREADABLE_MS = HOUR_MS;

/**
 * @param settings reads the settings of the deployment
 * @returns milliseconds; undefined while the settings cannot be read: then nothing may be deleted, since nobody knows
 * what the operator meant
 */
export function retentionOf(settings: () => Pick<Settings, 'RETENTION_DAYS'>): number | undefined {
  try {
    return settings().RETENTION_DAYS * DAY_MS;
  } catch {
    // Every route tells the operator which setting it is.
    return undefined;
  }
}
