/** Keeps in which order accounts are listed. */
import { signal } from '@preact/signals';

/** An order of the edge. */
export const accountsOrder = signal('spent');
/** Whether somebody, or what they are near to, has chosen it. */
export const isOrderChosen = signal(false);

/** Lists first who can ask for nothing, then who is near a limit. */
export function sortAccountsByLimitUse(): void {
  [accountsOrder.value, isOrderChosen.value] = ['used', true];
}
