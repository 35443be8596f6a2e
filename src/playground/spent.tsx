import { standing } from './edge/account.ts';
import { formatUsd } from './ui/format.ts';

/** Shows what was spent today. Its place is reserved, so that nothing moves when the number comes. */
export function Spent() {
  const day = standing.value?.day;
  return (
    <a
      class="spent"
      href="#/budget"
      title="Spent today, and what is held for requests that run"
      data-known={day !== undefined}
    >
      {formatUsd(day ? day.settled_usd + day.held_usd : 0)}
      <span> today</span>
    </a>
  );
}
