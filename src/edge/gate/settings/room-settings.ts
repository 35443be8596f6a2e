/** Where rooms plug in settings of their own. */

import { getOrMake } from '../../kit/cache/get-or-make.ts';
import type * as z from '../../kit/http/zod.ts';
import { seam } from '../../kit/rooms/rooms.ts';
import type { Settings } from './settings.ts';

/** What a room has to do with the settings of a deployment. */
export interface RoomSettings {
  /** Its own settings: the meaning, the form and the default of each, as in the core's `settingsSchema`. */
  schema?: z.ZodMiniObject;
  /** @throws ApiError 500 that names a setting with which the room cannot work, never its value */
  check?(settings: Settings): unknown;
  /** @returns what is valid, and hardly what was meant, or outdated */
  warnings?(settings: Settings): readonly string[];
}

export const SETTINGS = seam<RoomSettings>()('settings');

/** Makes the function that reads something from the settings of a deployment, once for each. */
export function readerOfSettings<T, Of extends Pick<Settings, 'given'>>(
  read: (settings: Of) => T,
): (settings: Of) => T {
  const known = new WeakMap<object, T>();
  return (settings) => getOrMake(known, settings.given, () => read(settings));
}
