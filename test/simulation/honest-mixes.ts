/**
 * Honest people on small budgets, on a clock of their own: how often they are refused or cut although there is money, and how often
 * they pay for an answer without a word. The admission, its line and its pools are those of the edge.
 */

import { ModelTable } from '#edge/claude/models/models.ts';
import { computeCost } from '#edge/claude/pricing/cost.ts';
import type { MaximumCost } from '#edge/claude/pricing/hold-terms.ts';
import { computeMaximumCost } from '#edge/claude/pricing/maximum-cost.ts';
import { createUnobserved } from '#edge/claude/usage/usage-report.ts';
import { parseSettingsOnce } from '#edge/config/settings.ts';
import { getOrCreate } from '#edge/kit/cache/get-or-create.ts';
import type { JsonBody } from '#edge/kit/http/body/json-body.ts';
import { ApiError } from '#edge/kit/http/errors.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { BilledRequest } from '#edge/money/admission/billed-request.ts';
import { computeUsedShareOfLimit } from '#edge/money/admission/budget-left.ts';
import type { RequestToBill } from '#edge/money/admission/request-to-bill.ts';
import { RecentAnswerLengths } from '#edge/money/budget/answer-lengths.ts';
import { computeCostRange } from '#edge/money/budget/cost-range.ts';
import type { Limits } from '#edge/money/budget/limits.schema.ts';
import { toLimitRules } from '#edge/money/budget/rules.ts';
import { env, findHost, runInWorld } from './bindings.ts';
import { settleTasks } from './clock.ts';
import { InvariantViolation } from './host.ts';
import { NO_MISHAPS, World } from './world.ts';

/** From and to how many: each number in between is as likely. */
type Range = readonly [from: number, to: number];

/** One kind of request. */
interface RequestProfile {
  model: 'claude-opus-5-5' | 'claude-sonnet-5-5' | 'claude-haiku-5-5';
  maxTokens: number;
  /** Tokens of the prompt. */
  input: Range;
  /** Tokens by which each answer makes the prompts behind it longer: then it is a conversation. */
  grows?: Range;
  /** How much of the prompt is read from the cache. */
  cached?: number;
  /** What it thinks, and what it says then. One answer in forty thinks as much as the last member. */
  thinks: readonly [...Range, rarely: number];
  says: Range;
  searches?: number;
  /** Whether the request limits its searches. Default: yes. */
  leavesOutMaxUses?: boolean;
  /** Characters of a signature for each token of thinking, if earlier thinking is sent again. */
  signs?: number;
  /** How many of its answers are stopped by an Escape: a share. */
  stops?: number;
  /** Seconds between an answer and the next question. */
  pause: Range;
}

/** Who asks, under which limits. */
export interface Mix {
  name: string;
  limits: Limits;
  /** The limit in USD a day of all, where each is an account of its own. Without `limits` these are the members of a group. */
  shared?: number;
  people: readonly { asks: RequestProfile; count: number; each: number }[];
}

const CODE_PROFILE: Omit<RequestProfile, 'maxTokens'> = {
  model: 'claude-opus-5-5',
  input: [15_000, 60_000],
  cached: 0.9,
  thinks: [40, 800, 1_900],
  says: [50, 1_500],
  pause: [1, 20],
};
const TITLE_PROFILE: RequestProfile = {
  model: 'claude-haiku-5-5',
  maxTokens: 512,
  input: [300, 900],
  thinks: [0, 0, 0],
  says: [5, 60],
  pause: [5, 30],
};
const SEARCH_PROFILE: Omit<RequestProfile, 'model'> = {
  maxTokens: 8_192,
  input: [500, 4_000],
  searches: 2,
  thinks: [40, 800, 1_900],
  says: [100, 900],
  pause: [5, 40],
};
const THINKING_PROFILE: Omit<RequestProfile, 'maxTokens'> = {
  model: 'claude-sonnet-5-5',
  input: [500, 4_000],
  thinks: [100, 2_000, 3_900],
  says: [100, 1_500],
  pause: [0, 2],
};
const VISITOR_PROFILE: RequestProfile = {
  model: 'claude-haiku-5-5',
  maxTokens: 2_048,
  input: [500, 3_000],
  thinks: [40, 800, 1_200],
  says: [50, 400],
  pause: [5, 40],
};
/** None of their answers is longer than 900 tokens. */
const SONNET_PROFILE: RequestProfile = {
  ...VISITOR_PROFILE,
  model: 'claude-sonnet-5-5',
  maxTokens: 8_192,
  input: [500, 1_500],
  thinks: [40, 500, 700],
  says: [50, 200],
};

/** A colleague who asks something now and then, without a thought about `max_tokens`. */
const MEMBER_PROFILE: Omit<RequestProfile, 'model'> = {
  maxTokens: 16_000,
  input: [1_000, 8_000],
  thinks: [40, 500, 1_500],
  says: [50, 400],
  pause: [5, 30],
  stops: 0.05,
};

/** A chat whose history grows to some 50,000 tokens. */
const LONG_SEARCH_PROFILE: Omit<RequestProfile, 'model'> = { ...SEARCH_PROFILE, searches: 3, grows: [500, 2_000] };

const createCodingMix = (maxTokens: number, usd: number): Mix => ({
  name: `Claude Code, ${maxTokens / 1_000}k, $${usd} a day`,
  limits: { usd_per_day: usd },
  people: [
    { asks: { ...CODE_PROFILE, maxTokens }, count: 3, each: 40 },
    { asks: TITLE_PROFILE, count: 1, each: 40 },
  ],
});
const modelLabelOf = (model: RequestProfile['model']) =>
  /opus/.test(model) ? 'Opus' : /sonnet/.test(model) ? 'Sonnet' : 'Haiku';
const createSearchMix = (model: RequestProfile['model'], usd: number, served_tools: 'exact' | 'estimate'): Mix => ({
  name: `Search chat, ${modelLabelOf(model)}, \`${served_tools}\`, $${usd} a day`,
  limits: { usd_per_day: usd, served_tools },
  people: [{ asks: { ...SEARCH_PROFILE, model }, count: 2, each: 60 }],
});
const createLongSearchMix = (model: RequestProfile['model'], usd: number): Mix => ({
  name: `Long search chat, ${modelLabelOf(model)}, \`estimate\`, $${usd} a day`,
  limits: { usd_per_day: usd, served_tools: 'estimate' },
  people: [{ asks: { ...LONG_SEARCH_PROFILE, model }, count: 2, each: 50 }],
});
/** Thinking is sent again with each turn, and one answer in ten is stopped. */
const createStoppedCodingMix = (usd: number): Mix => ({
  name: `Claude Code, thinking history, Escapes, $${usd}`,
  limits: { usd_per_day: usd },
  people: [
    { asks: { ...CODE_PROFILE, maxTokens: 32_000, grows: [500, 1_500], signs: 6, stops: 0.1 }, count: 2, each: 40 },
    { asks: TITLE_PROFILE, count: 1, each: 40 },
  ],
});
const createGroupMix = (model: RequestProfile['model'], usd: number): Mix => ({
  name: `Group of 20, ${modelLabelOf(model)}, $${usd} a day`,
  limits: {},
  shared: usd,
  people: [{ asks: { ...MEMBER_PROFILE, model }, count: 20, each: 25 }],
});
const createThinkingMix = (maxTokens: number, usd: number): Mix => ({
  name: `20 at once, ${maxTokens / 1_000}k, $${usd} a day`,
  limits: { usd_per_day: usd },
  people: [{ asks: { ...THINKING_PROFILE, maxTokens }, count: 20, each: 8 }],
});

export const MIXES: readonly Mix[] = [
  createCodingMix(32_000, 10),
  createCodingMix(128_000, 10),
  createCodingMix(32_000, 2),
  createCodingMix(128_000, 2),
  createStoppedCodingMix(10),
  createStoppedCodingMix(2),
  createSearchMix('claude-sonnet-5-5', 20, 'exact'),
  createSearchMix('claude-sonnet-5-5', 2, 'estimate'),
  createSearchMix('claude-opus-5-5', 40, 'exact'),
  createSearchMix('claude-opus-5-5', 5, 'estimate'),
  {
    name: 'Search chat, Opus, `exact`, no `max_uses`, $10 a day',
    limits: { usd_per_day: 10 },
    people: [{ asks: { ...SEARCH_PROFILE, model: 'claude-opus-5-5', leavesOutMaxUses: true }, count: 2, each: 60 }],
  },
  createLongSearchMix('claude-sonnet-5-5', 12),
  createLongSearchMix('claude-haiku-5-5', 3),
  createThinkingMix(16_000, 10),
  createThinkingMix(128_000, 10),
  createThinkingMix(16_000, 2),
  createThinkingMix(128_000, 2),
  createGroupMix('claude-sonnet-5-5', 1),
  createGroupMix('claude-opus-5-5', 1),
  {
    name: '30 visitors, $0.02 each, $0.25 a day for all',
    limits: { usd_per_day: 0.02 },
    shared: 0.25,
    people: [{ asks: VISITOR_PROFILE, count: 30, each: 20 }],
  },
  {
    name: '10 visitors of Sonnet, $0.05 each',
    limits: { usd_per_day: 0.05 },
    shared: 0.5,
    people: [{ asks: SONNET_PROFILE, count: 10, each: 20 }],
  },
];

const LABEL_PROFILE: RequestProfile = { ...TITLE_PROFILE, maxTokens: 256, says: [5, 30], pause: [0, 1] };
/** Three of them fit into $10. */
const LARGE_PROFILE: RequestProfile = { ...CODE_PROFILE, maxTokens: 128_000, says: [15_000, 20_000], pause: [0, 0] };

/** Small requests, alone or beside so many large ones, each of which comes a while after its last one was answered. */
export function createLabelMix(large: number, pause: Range = [0, 0]): Mix {
  return {
    name: `labels beside ${large}`,
    limits: { usd_per_day: 10, on_shortfall: 'refuse' },
    people: [
      { asks: LABEL_PROFILE, count: 5, each: 120 },
      { asks: { ...LARGE_PROFILE, pause }, count: large, each: 2 },
    ],
  };
}

/** People with a small budget each, who ask questions of one length until theirs is spent. */
export const SPENDERS: Mix = {
  name: '40 people, $0.006 each',
  limits: { usd_per_day: 0.006 },
  shared: 10,
  people: [{ asks: { ...VISITOR_PROFILE, input: [900, 900] }, count: 40, each: 40 }],
};

const FAKE_UPSTREAM = { baseURL: 'https://upstream.example', apiKey: 'sk-key', isSimulated: false };
/** Tokens that a model writes in a second; milliseconds before the first one, and of each search. */
const TOKENS_PER_SECOND = 80;
const FIRST_TOKEN_MS = 800;
const SEARCH_MS = 2_000;
const SEARCH_TOKENS = 6_000;
/** Tokens that the upstream writes before it notices an Escape, and by how much more a text is measured than it has. */
const IN_FLIGHT_TOKENS = TOKENS_PER_SECOND / 4;
const SEEN_TOKENS_FACTOR = 1.4;
/** Who is told to ask again does so as the official SDKs do: twice. */
const MAX_TRIES = 3;
const STEPS = 200_000;
const REST_MS = 24 * 60 * 60_000;
/** Money counts as good as gone where no more is left than this part. */
const NEAR_END_SHARE = 0.1;

/** What has become of those who have asked. */
export interface MixResult {
  answered: number;
  /** How many were refused, how many of them while the budget covered two of their kind, and how many before the end was near. */
  refused: number;
  refusedWithRoom: number;
  refusedEarly: number;
  /** The part of the money that was left when the first was refused for want of it; 0 if nobody was. */
  leftWhenRefused: number;
  /** How many were cut, and how many of them while there was money for their answer; of those asked before the end is near. */
  early: number;
  cut: number;
  cutWithMoney: number;
  /** How many were cut before their first word. */
  wordless: number;
  /** How many answers said of the budget what the ledger does not, and how many could be compared. */
  saidWrong: number;
  compared: number;
  /** How many questions were refused of which the answer before had said that they fit, while nobody else spent that budget. */
  misled: number;
  /** How many answers have said that the question does not fit once more. */
  saidNot: number;
  /** Milliseconds from the question to the first byte, by the model that was asked. */
  waits: { model: RequestProfile['model']; ms: number }[];
  /** The part of the money that is booked, and the part that the upstream bills. */
  spent: number;
  billed: number;
}

/** What earlier turns of a chat have added to its prompt: tokens of messages, and of thinking. */
interface ChatHistory {
  tokens: number;
  thought: number;
}

/** Lets everybody ask until they have had their answers, or their money is spent. */
export async function simulateMix(mix: Mix, seed: number): Promise<MixResult> {
  const random = createRandom(seed);
  const world = new World(createFifoScheduler(), NO_MISHAPS);
  const { limits, shared } = mix;
  const vars = {
    DEFAULT_LIMITS: JSON.stringify(limits),
    ...(shared !== undefined && { DEPLOYMENT_LIMITS: JSON.stringify({ usd_per_day: shared }) }),
  };
  const settings = parseSettingsOnce({ ...env, ...vars });
  const models = new ModelTable();
  const told: MixResult = {
    answered: 0,
    refused: 0,
    refusedWithRoom: 0,
    refusedEarly: 0,
    leftWhenRefused: 0,
    early: 0,
    cut: 0,
    cutWithMoney: 0,
    wordless: 0,
    saidWrong: 0,
    compared: 0,
    misled: 0,
    saidNot: 0,
    spent: 0,
    billed: 0,
    waits: [],
  };
  let asked = 0;
  await runInWorld(world, {}, async () => {
    if (shared !== undefined) {
      const pool = findHost('POOL', 'deployment');
      void pool.invoke('setLimits', [{ usd_per_day: shared }]);
      await settleTasks();
      pool.commitStep();
    }
    const people = mix.people.flatMap(({ count, ...one }) => Array.from({ length: count }, () => one));
    const accounts = people.map((_, nth) => (shared === undefined ? 'alice' : `person-${nth}`));
    const own = (limits.usd_per_day ?? Number.POSITIVE_INFINITY) * 1e9;
    const most = shared === undefined ? own : shared * 1e9;
    /** What is not settled of the tightest limit, and what of that is not held either; nanodollars. */
    const remainingBudgetOf = (account: string) => {
      const one = sumLedgers([account]);
      const all = shared === undefined ? one : sumLedgers([...new Set(accounts)]);
      const part = Math.min(
        own === Number.POSITIVE_INFINITY ? 1 : (own - one.settled) / own,
        (most - all.settled) / most,
      );
      return {
        part,
        isNearEnd: part <= NEAR_END_SHARE,
        free: Math.min(own - one.settled - one.held, most - all.settled - all.held),
      };
    };
    /** What the last answer to an account has said that still fits, and how many of its requests had begun or ended by then. */
    const saidOfBudget = new Map<string, { fits: boolean; least: number; changes: number }>();
    const changes = new Map<string, number>();
    /** How long the answers to each account were. */
    const lengths = new Map<string, RecentAnswerLengths>();
    const noteChange = (account: string) => {
      const count = (changes.get(account) ?? 0) + 1;
      changes.set(account, count);
      return count;
    };
    const sendRequest = async (asks: RequestProfile, account: string, history: ChatHistory): Promise<boolean> => {
      const { model, maxTokens, searches = 0, cached = 0, signs = 0, stops = 0 } = asks;
      const input = history.tokens + drawWithin(asks.input, random);
      const [from, to, rarely] = asks.thinks;
      const thought = random() < 1 / 40 ? rarely : drawWithin([from, to], random);
      const wanted = thought + drawWithin(asks.says, random);
      const search = { type: 'web_search_20260209', name: 'web_search' };
      const tools = [asks.leavesOutMaxUses ? search : { ...search, max_uses: searches }];
      const question = { role: 'user', content: 'word '.repeat(input) };
      // The length of a signature shows how much was thought.
      const signature = 'c2ln'.repeat(Math.ceil((history.thought * signs) / 4));
      const answer = [
        { type: 'thinking', thinking: '', signature },
        { type: 'text', text: 'It is done.' },
      ];
      const again = [
        { role: 'assistant', content: answer },
        { role: 'user', content: 'Go on.' },
      ];
      const json = {
        model,
        max_tokens: maxTokens,
        messages: history.thought > 0 && signs > 0 ? [question, ...again] : [question],
        ...(searches > 0 && { tools }),
        ...(thought === 0 && to === 0 && { thinking: { type: 'disabled' } }),
        ...(cached > 0 && { cache_control: { type: 'ephemeral' } }),
      };
      const body = createBody(json);
      const known = getOrCreate(lengths, account, () => new RecentAnswerLengths(() => []));
      const leastCostOf = (
        maximumCost: MaximumCost,
        field: 'estimateTokensForText' | 'estimateTokensWorthTrying' = 'estimateTokensWorthTrying',
      ) => {
        const usefulOutput = known[field](model, maximumCost.usefulOutput ?? 0);
        return computeCostRange({ ...maximumCost, usefulOutput }, toLimitRules(limits)).least;
      };
      const { maximumCost: worstCase } = computeMaximumCost(json, { bytes: body.bytes.length, models, count: input });
      // Without `max_uses` it is lowered to one search.
      const leastJson = asks.leavesOutMaxUses ? { ...json, tools: [{ ...search, max_uses: 1 }] } : json;
      const computeLeast = (options: { count?: number }) =>
        leastCostOf(computeMaximumCost(leastJson, { bytes: body.bytes.length, models, ...options }).maximumCost);
      const least = computeLeast({ count: input });
      // Who waits for others does not wait for less than that.
      const leastToWait = leastCostOf(worstCase, 'estimateTokensForText');
      const leastUncounted = computeLeast({});
      const inputCost = (limits.served_tools === 'estimate' && worstCase.serverTools?.inputCost) || worstCase.inputCost;
      const beganAt = world.clock.now;
      for (let tries = 1; ; tries += 1) {
        asked += 1;
        const request: RequestToBill = {
          requestId: `req_${String(asked).padStart(26, '0')}`,
          identity: { account, scopes: new Set() } as unknown as RequestToBill['identity'],
          accounts: env,
          store: env.STORE,
          settings,
          route: 'messages',
          body,
          model,
          headers: {},
          waitUntil: (work) => void work.catch((thrown: unknown) => world.fail(String(thrown))),
          upstream: createCountingUpstream(input),
          streams: true,
        };
        const askedAs = noteChange(account);
        const billed = new BilledRequest(request, { modelInBody: model });
        try {
          await billed.reserve();
        } catch (thrown) {
          if (!(thrown instanceof ApiError)) throw thrown;
          const { free, part, isNearEnd } = remainingBudgetOf(account);
          told.refused += 1;
          if (free >= 2 * leastToWait) told.refusedWithRoom += 1;
          if (!isNearEnd) told.refusedEarly += 1;
          const isOver = thrown.type === 'billing_error';
          const before = saidOfBudget.get(account);
          const isOwn = thrown.headers['sluice-limited-by'] === 'account';
          if (
            isOwn &&
            before?.fits &&
            before.least >= least &&
            before.changes + 1 === askedAs &&
            askedAs === changes.get(account)
          )
            told.misled += 1;
          if (isOver) told.leftWhenRefused ||= part;
          if (isOver || tries === MAX_TRIES) return !(isOver && isNearEnd);
          await sleep(Number(thrown.headers['retry-after'] ?? 1) * 1_000);
          continue;
        }
        const { free, isNearEnd } = remainingBudgetOf(account);
        const begun = noteChange(account);
        const may = billed.latestAttempt.admission?.maxTokens ?? maxTokens;
        const output = Math.min(wanted, may);
        const isCut = output < Math.min(wanted, maxTokens);
        told.answered += 1;
        if (!isNearEnd) {
          told.early += 1;
          const needed = inputCost + Math.min(wanted, maxTokens) * worstCase.outputPrice;
          const held = inputCost + may * worstCase.outputPrice;
          if (isCut) told.cut += 1;
          if (isCut && free + held >= needed) told.cutWithMoney += 1;
        }
        if (may <= thought && thought < maxTokens) told.wordless += 1;
        const startedAt = world.clock.now;
        told.waits.push({ model, ms: startedAt - beganAt + FIRST_TOKEN_MS });
        const mayUse = billed.latestAttempt.grant.loweredBy?.max_uses ?? searches;
        const used = searches > 0 ? Math.floor(random() * (Math.min(searches, mayUse) + 1)) : 0;
        const isStopped = stops > 0 && random() < stops;
        // Whoever stops an answer has mostly seen some of it.
        const heard = isStopped ? Math.floor(output * random()) : output;
        await sleep(FIRST_TOKEN_MS + used * SEARCH_MS + (heard / TOKENS_PER_SECOND) * 1_000);
        const prompt =
          (input + (signs > 0 ? history.thought : 0)) * (1 + used) + ((used * (used + 1)) / 2) * SEARCH_TOKENS;
        const read = Math.floor(prompt * cached);
        const thinking_tokens = Math.min(thought, heard);
        const usage = {
          input_tokens: prompt - read,
          cache_read_input_tokens: read,
          output_tokens: heard,
          output_tokens_details: { thinking_tokens },
          server_tool_use: { web_search_requests: used },
        };
        const written = Math.min(output, heard + (isStopped ? IN_FLIGHT_TOKENS : 0));
        told.billed += computeCost({ ...usage, output_tokens: written }, models.findPriceRow(model).row);
        history.thought += thinking_tokens;
        const ended = { model, bytes: 1, status: 200, upstream_request_id: 'req_up', sent: true } as const;
        const whole = {
          ...ended,
          usage,
          stop_reason: isCut ? 'max_tokens' : 'end_turn',
          end: 'complete',
          completed: true,
          signatureLength: thinking_tokens * signs,
        } as const;
        const said = Math.ceil((heard - thinking_tokens) * SEEN_TOKENS_FACTOR);
        const unseen_ms = FIRST_TOKEN_MS + (thinking_tokens / TOKENS_PER_SECOND) * 1_000;
        const stopped = {
          ...ended,
          usage: { ...usage, output_tokens: 1, output_tokens_details: {} },
          stop_reason: null,
          end: 'cut',
          stopped: true,
          completed: false,
          seen: { ...createUnobserved(0), said, unseen_ms },
        } as const;
        const outcome = { ...(isStopped ? stopped : whole), error_type: undefined, ttft_ms: FIRST_TOKEN_MS };
        const { budget, done } = billed.settle(outcome);
        const isAlone = begun === askedAs + 1 && changes.get(account) === begun;
        await done;
        if (!isStopped) known.recordAnswer({ model, tokens: output });
        const isStillAlone = isAlone && changes.get(account) === begun;
        const changed = noteChange(account);
        if (!budget && limits.usd_per_day !== undefined)
          throw new InvariantViolation('An answer has not said what is left.');
        if (!isStillAlone || !budget) return true;
        saidOfBudget.set(account, { fits: budget.fits, least, changes: changed });
        const { settled, held } = sumLedgers([account]);
        const rest = own - settled - held;
        told.compared += 1;
        if (!budget.fits) told.saidNot += 1;
        const isRight = budget.fits ? rest >= least : rest < leastUncounted;
        if (!isRight || budget.used !== computeUsedShareOfLimit({ settled, limit: own })) told.saidWrong += 1;
        return true;
      }
    };
    world.suspendMishaps(REST_MS);
    let running = people.length;
    for (const [nth, { asks, each }] of people.entries()) {
      void (async () => {
        await sleep(random() * 3_000);
        const history: ChatHistory = { tokens: 0, thought: 0 };
        for (let times = 0; times < each; times += 1) {
          if (!(await sendRequest(asks, accounts[nth] ?? '', history))) return;
          if (asks.grows) history.tokens += drawWithin(asks.grows, random);
          await sleep(drawWithin(asks.pause, random) * 1_000);
        }
      })()
        .catch((thrown: unknown) => world.fail(String(thrown instanceof Error ? thrown.stack : thrown)))
        .finally(() => {
          running -= 1;
        });
    }
    for (let steps = 0; running > 0; steps += 1) {
      if (steps > STEPS || !(await world.step())) throw new InvariantViolation(`${running} people wait for ever`);
      // To look at many accounts takes long.
      const all = [...new Set(accounts)];
      if (steps % all.length > 0) continue;
      const { settled, held } = sumLedgers(all);
      if (settled + held > most && limits.served_tools !== 'estimate')
        throw new InvariantViolation(`${settled + held} of ${most}`);
    }
    told.spent = sumLedgers([...new Set(accounts)]).settled / most;
    told.billed /= most;
    if (told.billed > 1 && limits.served_tools !== 'estimate') throw new InvariantViolation(`${told.billed} is billed`);
  });
  return told;
}

/** @returns the milliseconds within which 95 of 100 have had their first byte */
export function p95OfWaits(waits: MixResult['waits']): number {
  const sorted = waits.map(({ ms }) => ms).sort((one, other) => one - other);
  return sorted[Math.ceil(sorted.length * 0.95) - 1] ?? 0;
}

function sumLedgers(accounts: readonly string[]): { settled: number; held: number } {
  const sum = { settled: 0, held: 0 };
  for (const name of accounts) {
    const { storage } = findHost('ACCOUNT', name);
    if (!storage.hasTable('ledger')) continue;
    const query = `select coalesce(sum(iif(status = 'held', hold, 0)), 0) as held,
      coalesce(sum(iif(status = 'held', 0, cost)), 0) as settled from ledger`;
    const [row] = storage.exec(query, []).toArray();
    sum.settled += Number(row?.settled);
    sum.held += Number(row?.held);
  }
  return sum;
}

/** @returns an upstream that counts each prompt as so many tokens, and answers nothing else */
function createCountingUpstream(input_tokens: number): RequestToBill['upstream'] {
  return { ...FAKE_UPSTREAM, fetch: async () => Response.json({ input_tokens }) };
}

function createBody(json: JsonObject): JsonBody {
  const text = JSON.stringify(json);
  return { bytes: new TextEncoder().encode(text), text, json };
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

function drawWithin([from, to]: Range, random: () => number): number {
  return from + Math.floor(random() * (to - from + 1));
}

/** @returns numbers from 0 to 1, the same ones for the same seed */
function createRandom(seed: number): () => number {
  let state = (seed * 7_919 + 1) % 2_147_483_647;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}

/** Lets everything happen in the order in which it was sent. */
export function createFifoScheduler() {
  const waiting: (() => void)[] = [];
  return {
    schedule: <T>(task: Promise<T>) => new Promise<T>((resolve) => waiting.push(() => resolve(task))),
    waitOne: async () => waiting.shift()?.(),
    count: () => waiting.length,
  };
}
