/** How long Durable Objects keep what has ended. */

import { DAY_MS, HOUR_MS } from '../async/durations.ts';
import type { Settings } from './settings.ts';

/** An object that cannot read its settings tries again after so many milliseconds: without an alarm it would never wake. */
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
