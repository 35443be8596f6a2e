/**
 * Sums of what conversations have cost whose agents choose their models: how a row is summed up.
 *
 * Each conversation belongs to one of `CHOICE_GROUPS` groups for good, and each sum is of one group. What the groups differ
 * in tells how sure a mean is. So nobody has to keep what each conversation has cost, and the sums travel with all others.
 */

export const CHOICE_GROUPS = 32;

/** What the requests of a day have cost that are alike. */
export interface ChoiceSum {
  /** Days since 1970. */
  day: number;
  /** What `CHOICE_VALUE` makes. */
  value: string;
  requests: number;
  /** Nanodollars. */
  cost: number;
}

/** Which of these sums are read. */
export interface ChoicesQuery {
  /** The name of the agent, behind who owns it and a space. */
  agent: string;
  /** Days, or times of which the whole days count; the second exclusive. */
  from?: string | undefined;
  to?: string | undefined;
}

/**
 * The requests that have come to something. Of a turn that has failed nothing is left, and the next one stands for it. A message
 * without a conversation has no next one.
 */
const BEGUN = `(status in ('complete', 'stopped', 'interrupted', 'orphaned')
  or conversation is null and status not in ('refused_upstream', 'unreachable', 'retried'))`;

/**
 * What a row of the ledger is summed up by, in SQL: who owns the agent, its version, arm, group, part, and model, with spaces between.
 * Null for a row whose model was not chosen. The model is the last, because its name may have any characters.
 */
export const CHOICE_VALUE = `(chosen_by ->> 'owner') || ' ' || agent || ' ' || (chosen_by ->> 'arm') || ' ' || coalesce(chosen_by ->> 'group', 0) || ' ' || case
  when route = 'choice' then 'label'
  when not ${BEGUN} then 'next'
  else coalesce(chosen_by ->> 'part', 'next') end || iif(status = 'stopped', '-stopped', '') || ' ' || model`;
