/** What an axis may end with, times a power of ten: halves of these are short numbers too. */
const AXIS_CEILINGS = [1, 1.6, 2, 3, 4, 6, 8, 10];

/** @returns the round number at which the axis of a chart ends, for its highest value */
export function computeAxisCeiling(max: number): number {
  if (max === 0) return 1;
  const power = 10 ** Math.floor(Math.log10(max));
  return (AXIS_CEILINGS.find((one) => one * power >= max) ?? 10) * power;
}
