import { formatCount } from '../../ui/format.ts';

/** @returns how many requests a report contains, and how many of them failed: `22 requests (2 failed)` */
export function describeRequestCount({ requests, failed }: { requests: number; failed: number }): string {
  const count = `${formatCount(requests)} ${requests === 1 ? 'request' : 'requests'}`;
  return failed > 0 ? `${count} (${formatCount(failed)} failed)` : count;
}
