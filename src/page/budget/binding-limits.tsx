import type { ComponentChildren } from 'preact';
import type { AccountSpendRow, Limits, SpendLimitUsage } from '../../edge/answers.ts';
import type { AccountQuota } from '../edge/account.ts';
import { identity } from '../edge/identity.ts';
import { formatCount, formatExactUsd, formatPercentage, formatResetTime } from '../ui/format.ts';
import { budgetView } from '../ui/route.ts';
import { Usd } from '../ui/usd.tsx';
import {
  computeUsedShare,
  describeBindingLimit,
  describeLimitOwner,
  describeShortage,
  EMPTY_FROM_SHARE,
  getLimitTitle,
  NEARLY_USED_SHARE,
} from './figures/limit-names.ts';
import { deploymentReport } from './figures/overview.ts';
import { reportFault } from './figures/report.ts';
import { computeClampedShare, findSmallestLimit, Gauge } from './gauge.tsx';
import { focusCreditForm, GroupLink } from './links.tsx';

const RATE_LIMITS = [
  ['requests', 'requests_per_minute'],
  ['input_tokens', 'input_tokens_per_minute'],
  ['output_tokens', 'output_tokens_per_minute'],
  ['count_requests', 'count_requests_per_minute'],
] as const;

const REJECTS_ALL_NOTE = 'rejects all requests';

function describeBlockCause(cause: NonNullable<AccountQuota['blocked_by']>): string {
  if (cause === 'blocked') return 'Blocked by an admin';
  return `Blocked: the limit “${getLimitTitle(cause)}” ${cause === 'models' ? 'is empty' : 'is 0'}`;
}

/**
 * Shows which limits bind an account, the tightest first. A limit that rejects requests is red. Windows without a limit have no
 * card.
 */
export function BindingLimits({ stands: quota }: { stands: AccountQuota | undefined }) {
  if (!quota) return reportFault.value === undefined ? <p class="quiet loading">…</p> : null;
  const { binds, blocked_by: zero, running_requests: running, day, total } = quota;
  // Show here only the limits without a card: those in dollars and per minute have cards, which turn red.
  const isBare = zero === 'models' || zero === 'concurrent_requests';
  const buckets = RATE_LIMITS.flatMap(([key, name]) => {
    const meter = quota[key];
    return meter ? [{ name, ...meter }] : [];
  });
  const refusing = buckets.filter(({ limit }) => limit === 0);
  return (
    <section id="quota" aria-label="Limits in effect" class="stack">
      {zero !== null && (
        <p class="state" data-look="refused">
          {describeBlockCause(zero)}, so all requests are rejected.
          {identity.value.admin && zero !== 'blocked' && ' Change it or remove it below.'}
        </p>
      )}
      <BindingLimitCards
        bindingLimits={binds}
        spentUsd={day.settled_usd}
        creditUsd={total.credit_usd}
        first={
          <>
            {isBare && (
              <Gauge
                title={getLimitTitle(zero)}
                value={zero === 'models' ? 'none is allowed' : '0'}
                limitText=""
                usedShare={1}
                heldShare={0}
                refuses
                note={REJECTS_ALL_NOTE}
              />
            )}
            {refusing.map((bucket) => (
              <RateLimitCard key={bucket.name} rateLimit={bucket} />
            ))}
          </>
        }
      >
        {buckets.map((bucket) => !refusing.includes(bucket) && <RateLimitCard key={bucket.name} rateLimit={bucket} />)}
      </BindingLimitCards>
      {running > 0 && (
        <p class="quiet">
          {running} {running === 1 ? 'request is' : 'requests are'} running.
        </p>
      )}
    </section>
  );
}

interface RateLimitCardProps {
  rateLimit: { name: keyof Limits; limit: number; remaining: number };
}

/** Shows a limit of a minute. */
function RateLimitCard({ rateLimit: { name, limit, remaining } }: RateLimitCardProps) {
  const used = Math.max(0, limit - remaining);
  const refuses = limit === 0;
  return (
    <Gauge
      title={getLimitTitle(name)}
      value={formatCount(Math.floor(used))}
      limitText={`used of ${formatCount(limit)}`}
      usedShare={refuses ? 1 : computeClampedShare(used, limit)}
      heldShare={0}
      refuses={refuses}
      note={refuses ? REJECTS_ALL_NOTE : 'refills continuously'}
    />
  );
}

interface BindingLimitCardsProps {
  bindingLimits: readonly SpendLimitUsage[];
  /** The spending to show if there is no limit, in US dollars: of today, or for a shared budget of this month. */
  spentUsd: number;
  /** The credit that the account’s total limit includes, in US dollars. */
  creditUsd?: number;
  /** Whether it is clear whose limits they are. */
  isOwn?: boolean;
  /** Other cards of limits that reject requests. They are shown before those that do not. */
  first?: ComponentChildren;
  children?: ComponentChildren;
}

/** Shows a card for each limit in dollars. */
export function BindingLimitCards({
  bindingLimits: binds,
  spentUsd: spent,
  creditUsd = 0,
  isOwn = false,
  first,
  children,
}: BindingLimitCardsProps) {
  // Cards side by side have the same decimals, which the smallest limit needs.
  const smallest = findSmallestLimit(binds.map(({ limit_usd }) => limit_usd));
  const renderLimitCard = (limit: SpendLimitUsage) => (
    <BindingLimitCard
      key={`${limit.by} ${limit.id} ${limit.limit}`}
      limit={limit}
      isOwn={isOwn}
      smallestUsd={smallest}
      creditUsd={limit.by === 'account' && limit.limit === 'usd_total' ? creditUsd : 0}
    />
  );
  return (
    <ul class="gauges">
      {binds.filter(({ refuses }) => refuses).map(renderLimitCard)}
      {first}
      {binds.filter(({ refuses }) => !refuses).map(renderLimitCard)}
      {binds.length === 0 && (
        <Gauge
          title={isOwn ? 'Spent this month' : 'Spent today'}
          value={<Usd isSum value={spent} />}
          limitText={identity.value.operator ? 'no limit in dollars' : 'no personal limit in dollars'}
          usedShare={undefined}
          heldShare={0}
          note={identity.value.operator ? '' : 'Limits that you share with others can still apply.'}
        />
      )}
      {children}
    </ul>
  );
}

/** An operator sees limits of several owners, so each is shown with its owner, and a link to its group. */
function renderLimitOwner({ by, id }: SpendLimitUsage): ComponentChildren {
  if (!identity.value.operator) return describeLimitOwner({ by, id });
  if (by === 'group' && id !== null) return ['of group ', <GroupLink key={id} group={id} />];
  if (by === 'deployment' && budgetView.value !== 'overview')
    return <a href="#/budget">{describeLimitOwner({ by, id })}</a>;
  return by === 'account' ? 'of this account' : describeLimitOwner({ by, id });
}

interface BindingLimitCardProps {
  limit: SpendLimitUsage;
  /** Whether it is clear whose it is. */
  isOwn: boolean;
  /** The smallest of the limits beside it, in US dollars. Default: its own. */
  smallestUsd?: number | undefined;
  /** The credit that it includes, in US dollars. */
  creditUsd?: number;
}

/** Shows a limit in dollars. */
export function BindingLimitCard({ limit, isOwn, smallestUsd, creditUsd = 0 }: BindingLimitCardProps) {
  const { limit_usd: most, used_usd: used, prepaid: isPrepaid = false, resets_at, refuses } = limit;
  const whose = isOwn ? '' : renderLimitOwner(limit);
  const resets = resets_at === null ? 'does not reset' : `resets ${formatResetTime(resets_at)}`;
  const title = isPrepaid ? 'Credit' : [getLimitTitle(limit.limit), whose && [', ', whose]];
  const spent = describeShortage(limit);
  const why = isPrepaid
    ? [`${spent}: `, <GiveCreditLink key="credit" />]
    : most === 0
      ? REJECTS_ALL_NOTE
      : // A limit that is too small for a request stays so when it resets.
        used === 0
        ? spent
        : `${spent}: ${resets}`;
  const credit = creditUsd > 0 ? `includes ${formatExactUsd(creditUsd)} of credit · ` : '';
  const healthy = isPrepaid ? 'prepaid' : credit + resets;
  return (
    <Gauge
      title={title}
      value={<Usd isSum of={smallestUsd ?? most} value={isPrepaid ? most - used : used} />}
      limitText={`${isPrepaid ? 'left ' : ''}of ${formatExactUsd(most)}${isPrepaid ? ' prepaid' : ''} · ${formatPercentage(computeUsedShare(limit))}${isPrepaid ? ' used' : ''}`}
      usedShare={most <= 0 ? 1 : computeClampedShare(used, most)}
      heldShare={0}
      refuses={refuses}
      note={refuses ? why : healthy}
    />
  );
}

/** Links an admin to the form for credit. */
function GiveCreditLink() {
  if (!identity.value.admin) return <>ask an admin for credit</>;
  return (
    <button type="button" class="link" onClick={focusCreditForm}>
      give credit
    </button>
  );
}

/** @returns whether it is the deployment's budget, and rejects the requests of all accounts */
function isUpForAllAccounts({ by, refuses }: SpendLimitUsage): boolean {
  return by === 'deployment' && refuses;
}

/** Says once above a list of accounts that the budget which they all share is used up. Their rows do not repeat it. */
export function AllAccountsNote({ rows }: { rows: readonly Pick<AccountSpendRow, 'tightest'>[] }) {
  const limit = rows.find(({ tightest }) => tightest && isUpForAllAccounts(tightest))?.tightest;
  if (!limit) return null;
  const { limit_usd, resets_at } = limit;
  return (
    <p class="state" data-look="refused">
      All accounts: budget {describeShortage(limit)}. The limit “{getLimitTitle(limit.limit)}” of the deployment is{' '}
      {formatExactUsd(limit_usd)} and {resets_at === null ? 'does not reset' : `resets ${formatResetTime(resets_at)}`}.
    </p>
  );
}

interface BindingLimitCellProps {
  row: Pick<AccountSpendRow, 'tightest' | 'blocked_by'>;
  /** Whether it is clear whose limit it is. */
  isOwn?: boolean;
  /** Whether an account without a limit is said to have those of the deployment. */
  isDeploymentIncluded?: boolean;
}

/** Shows in a row whether an account is blocked, or its tightest limit. A narrow window has a bar in place of the text. */
export function BindingLimitCell({ row, isOwn = false, isDeploymentIncluded = false }: BindingLimitCellProps) {
  const { tightest, blocked_by: zero } = row;
  if (zero !== null)
    return (
      <LimitSummary
        look="refused"
        text={
          zero === 'blocked'
            ? 'blocked by an admin'
            : `blocked: ${zero === 'models' ? 'no models' : `${getLimitTitle(zero).toLowerCase()} is 0`}`
        }
        brief="blocked"
        usedShare={1}
      />
    );
  if (!tightest) {
    const isLimited = isDeploymentIncluded && (deploymentReport.value?.binds.length ?? 0) > 0;
    return <span class="quiet">{isLimited ? 'only the deployment’s limit' : 'no limit in dollars'}</span>;
  }
  if (isUpForAllAccounts(tightest)) return <span class="quiet">same as for all accounts</span>;
  const share = computeUsedShare(tightest);
  // A bar that is nearly empty would look like an account that can send requests.
  const isTooSmall = tightest.refuses && share < EMPTY_FROM_SHARE;
  return (
    <LimitSummary
      look={tightest.refuses ? 'refused' : share >= NEARLY_USED_SHARE ? 'nearly' : undefined}
      text={describeBindingLimit(isOwn ? { ...tightest, by: 'account' } : tightest)}
      brief={
        isTooSmall
          ? describeBriefShortage(tightest)
          : `${formatPercentage(share)} of ${formatExactUsd(tightest.limit_usd)}`
      }
      usedShare={isTooSmall ? 1 : share}
    />
  );
}

/** @returns in few words why a limit rejects requests that is not used up */
function describeBriefShortage({ used_usd }: SpendLimitUsage): string {
  return used_usd === 0 ? 'limit too small' : 'too little left';
}

interface LimitSummaryProps {
  look: 'refused' | 'nearly' | undefined;
  text: string;
  /** The text beside the bar. */
  brief: string;
  usedShare: number;
}

function LimitSummary({ look, text, brief, usedShare }: LimitSummaryProps) {
  return (
    <span class={`limit-summary ${look ? 'state' : ''}`} data-look={look}>
      <span class="limit-text">{text}</span>
      <span class="limit-brief" aria-hidden="true">
        <span class="bar">
          <span class="settled" style={{ width: `${Math.min(1, usedShare) * 100}%` }} />
        </span>
        {brief}
      </span>
    </span>
  );
}
