/** Writes and reads shares of a limit as people say them: in per cent, with commas between them. */

/** @param shares such as `[0.5, 0.8]`. @returns `50, 80` */
export function formatPercentageList(shares: readonly number[] = []): string {
  return shares.map((share) => Number((share * 100).toFixed(6))).join(', ');
}

/** @returns the shares. @throws Error if it is no list of numbers, as the edge would word it */
export function parsePercentageList(text: string): number[] {
  const parts = text.split(/[\s,;%]+/).filter((part) => part !== '');
  const shares = parts.map((part) => Number((Number(part) / 100).toFixed(8)));
  if (shares.some(Number.isNaN)) throw new Error('alerts: Enter numbers separated by commas, such as 50, 80, 100.');
  return shares;
}
