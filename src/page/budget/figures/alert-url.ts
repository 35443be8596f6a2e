/** Keeps whether alerts are sent. */

import type { AlertList } from '../../../edge/answers.ts';
import { readJson } from '../../edge/client.ts';
import { createTokenSignal } from '../../edge/credential.ts';

/** Whether `ALERT_URL` is set; undefined until that is known. */
export const isAlertUrlSet = createTokenSignal<boolean | undefined>(undefined);

/** Finds out whether alerts are sent. If that fails, assume it: the list of alerts shows the error. */
export async function readAlertUrlState(): Promise<void> {
  if (isAlertUrlSet.value !== undefined) return;
  const list = await readJson<AlertList>('/alerts', { query: { limit: 1 } }).catch(() => undefined);
  isAlertUrlSet.value = list?.alert_url_set ?? true;
}
