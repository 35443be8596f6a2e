/** Keeps in which order accounts are listed. */
import { signal } from '@preact/signals';

/** An order of the edge. */
export const accountsOrder = signal('spent');
/** Whether the order was chosen, by the user or because an account is near a limit. */
export const isOrderChosen = signal(false);

/** Sorts the accounts by the use of their limits: first those that are blocked, then those near a limit. */
export function sortAccountsByLimitUse(): void {
  [accountsOrder.value, isOrderChosen.value] = ['used', true];
}
