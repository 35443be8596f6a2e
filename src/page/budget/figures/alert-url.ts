/** Keeps whether alerts are sent. */
import { signal } from '@preact/signals';
import type { AlertList } from '../../../edge/answers.ts';
import { readJson } from '../../edge/client.ts';

/** Whether `ALERT_URL` is set; undefined until that is known. */
export const isAlertUrlSet = signal<boolean | undefined>(undefined);

/** Finds out whether alerts are sent. If that fails, assume it: the list of alerts shows the error. */
export async function readAlertUrlState(): Promise<void> {
  if (isAlertUrlSet.value !== undefined) return;
  const list = await readJson<AlertList>('/alerts', { query: { limit: 1 } }).catch(() => undefined);
  isAlertUrlSet.value = list?.alert_url_set ?? true;
}
