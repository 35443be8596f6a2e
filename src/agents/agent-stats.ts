/** Says what an agent's choice of models has cost and saved, by the sums that accounts keep and report. */

import { DAY_MS } from '../async/durations.ts';
import { spanId } from '../budget/windows.ts';
import { CHOICE_GROUPS, type ChoiceSum } from '../pricing/choice-sums.ts';
import { type Nanodollars, toUsd } from '../pricing/cost.ts';
import type { AgentStats } from './agents-answers.schema.ts';
import { type Bounded, estimateSavings, type GroupCost } from './savings.ts';

const ARMS = ['chosen', 'control', 'asked'] as const;
type Arm = (typeof ARMS)[number];

/** What the requests of an arm have cost, by what is counted of them. */
interface ChoiceCounts {
  requests: number;
  cost: Nanodollars;
  conversations: number;
  steppedUp: number;
  askedAgain: number;
  stopped: number;
}

const NO_CHOICES: ChoiceCounts = { requests: 0, cost: 0, conversations: 0, steppedUp: 0, askedAgain: 0, stopped: 0 };

/** @returns the answer, without what was asked for. @param version only of this one: name@version */
export function statsOfChoices(
  sums: readonly ChoiceSum[],
  version: string | undefined,
): Omit<AgentStats, 'type' | 'name' | 'from' | 'to'> {
  const read = sums.map(readSum).filter((one) => version === undefined || one.version === version);
  const groupsOf = (arm: Arm) => {
    const groups: GroupCost[] = Array.from({ length: CHOICE_GROUPS }, () => ({ conversations: 0, cost: 0 }));
    for (const one of read) {
      const group = one.arm === arm ? groups[one.group] : undefined;
      if (!group) continue;
      group.conversations += one.conversations;
      group.cost += one.cost;
    }
    return groups;
  };
  const saved = estimateSavings(groupsOf('chosen'), groupsOf('control'));
  return {
    data: totals(read, ({ version, arm, model }) => ({ version, arm, model })).map(({ requests, cost, ...of }) => ({
      ...of.key,
      requests,
      cost_usd: toUsd(cost),
    })),
    arms: totals(read, ({ arm }) => ({ arm })).map(({ key, cost, ...all }) => ({
      ...key,
      conversations: all.conversations,
      requests: all.requests,
      cost_usd: toUsd(cost),
      cost_usd_per_conversation: all.conversations === 0 ? null : toUsd(Math.round(cost / all.conversations)),
      stepped_up: all.steppedUp,
      asked_again: all.askedAgain,
      stopped: all.stopped,
    })),
    days: totals(read, ({ day, arm }) => ({ day: spanId('day', day * DAY_MS), arm })).map(
      ({ key, conversations, cost }) => ({ ...key, conversations, cost_usd: toUsd(cost) }),
    ),
    saved: saved
      ? { share: inForm(saved.share, (share) => share), usd: inForm(saved.cost, (cost) => toUsd(Math.round(cost))) }
      : null,
  };
}

/** @returns the sums of what has the same key, in the order of the keys */
function totals<K extends object>(read: readonly ReadSum[], keyOf: (one: ReadSum) => K): (ChoiceCounts & { key: K })[] {
  const all = new Map<string, ChoiceCounts & { key: K }>();
  for (const one of read) {
    const key = keyOf(one);
    const name = JSON.stringify(key);
    const sum = all.get(name) ?? { ...NO_CHOICES, key };
    all.set(name, sum);
    for (const member of Object.keys(NO_CHOICES) as (keyof ChoiceCounts)[]) sum[member] += one[member];
  }
  return [...all.keys()].sort().flatMap((name) => all.get(name) ?? []);
}

interface ReadSum extends ChoiceCounts {
  day: number;
  version: string;
  arm: Arm;
  group: number;
  model: string;
}

/** Reads what `CHOICE_VALUE` has made. */
function readSum({ day, value, requests, cost }: ChoiceSum): ReadSum {
  const [, version = '', arm, group = '', said = '', ...model] = value.split(' ');
  const [part, stopped] = said.split('-');
  const count = (is: boolean) => (is ? requests : 0);
  return {
    ...{ day, version, group: Number(group), model: model.join(' '), requests, cost },
    arm: ARMS.find((one) => one === arm) ?? 'asked',
    conversations: count(part === 'first'),
    steppedUp: count(part === 'step_up'),
    askedAgain: count(part === 'again'),
    stopped: count(stopped !== undefined),
  };
}

function inForm({ value, low, high }: Bounded, form: (figure: number) => number) {
  return { value: form(value), low: form(low), high: form(high) };
}
