/** Alerts the operator when an object cannot store anything any more, because it rejects requests from then on. */

import type { Bindings } from '../../kit/plugins/bindings.ts';
import { sendAlertToInbox, UNOWNED } from '../alerts/alert-outbox.ts';
import { createDiskFullAlert } from '../alerts/create-alert.ts';

/** The key of the last alert of this isolate. */
let toldKey: string | undefined;

/**
 * Alerts the operator that something could not be stored, once a day. No object stores the alert, because its disk is full,
 * too. If the inbox cannot store it either, the next failure sends it again.
 */
export async function sendDiskFullAlert(env: Bindings, now = Date.now()): Promise<void> {
  const alert = createDiskFullAlert(now);
  if (toldKey === alert.key) return;
  toldKey = alert.key;
  try {
    await sendAlertToInbox(env, { ...alert, account: UNOWNED });
  } catch (thrown) {
    toldKey = undefined;
    throw thrown;
  }
}
