import type { BatchEstimate } from '../../client/index.ts';
import { Facts } from '../ui/facts.tsx';
import { Fault } from '../ui/fault.tsx';
import { formatCount } from '../ui/format.ts';
import { Usd } from '../ui/usd.tsx';

/** Shows what a batch costs at most, and what to do if that is too much. */
export function Estimate({ estimate: { requests, cost_usd, fits, fitting } }: { estimate: BatchEstimate }) {
  return (
    <div class="stack" role="status">
      <Facts
        facts={[
          ['At most', <Usd key="most" value={cost_usd} />],
          ['Requests', formatCount(requests)],
          ['Price', 'half the usual'],
        ]}
      />
      {!fits && (
        <Fault
          text={`Your budget covers ${formatCount(fitting)} of them now. Send fewer, ask for shorter answers, or wait until the budget resets.`}
        />
      )}
    </div>
  );
}
