/** Twenty callers at once, all of whose answers can be paid for: each is answered, and none is cut short. */

import { parseSettingsOnce } from '#edge/config/settings.ts';
import type { JsonBody } from '#edge/kit/http/body/json-body.ts';
import { ApiError } from '#edge/kit/http/errors.ts';
import { BilledRequest } from '#edge/money/admission/billed-request.ts';
import type { RequestToBill } from '#edge/money/admission/request-to-bill.ts';
import { env, findHost, runInWorld } from './bindings.ts';
import { settleTasks } from './clock.ts';
import { InvariantViolation } from './host.ts';
import { NO_MISHAPS, type Scheduler, World } from './world.ts';

/** The budgets, in USD. */
const LIMITS = [{ usd_per_hour: 0.25 }, { usd_per_day: 2 }, { usd_per_month: 10 }] as const;
const MODELS = ['claude-opus-5-5', 'claude-sonnet-5-5', 'claude-haiku-5-5'] as const;
const MAX_TOKENS = [4_096, 128_000] as const;

/** Who asks for what, under which budget: of one account, or of a deployment that four accounts share. */
export interface Crowd {
  limits: (typeof LIMITS)[number];
  model: (typeof MODELS)[number];
  maxTokens: number;
  isShared: boolean;
}

export const CROWDS: readonly Crowd[] = LIMITS.flatMap((limits) =>
  MODELS.flatMap((model) =>
    MAX_TOKENS.flatMap((maxTokens) => [false, true].map((isShared) => ({ limits, model, maxTokens, isShared }))),
  ),
);

const CALLERS = 20;
const SHARING_ACCOUNTS = 4;
const ANSWER_TOKENS = 400;
const ANSWER_MS = 2_500;
const STEPS = 20_000;
const REST_MS = 60 * 60_000;

/** What has become of those who have asked. */
export interface Outcome {
  asked: number;
  refused: number;
  clipped: number;
}

/** Lets twenty ask at once, in the order that a scheduler chooses. @throws Violation if more than the budget is used */
export async function runCrowd(scheduler: Scheduler, { limits, model, maxTokens, isShared }: Crowd): Promise<Outcome> {
  const world = new World(scheduler, NO_MISHAPS);
  const vars = isShared ? { DEPLOYMENT_LIMITS: JSON.stringify(limits) } : { DEFAULT_LIMITS: JSON.stringify(limits) };
  const settings = parseSettingsOnce({ ...env, ...vars });
  const outcome: Outcome = { asked: CALLERS, refused: 0, clipped: 0 };
  const most = Math.round(Math.min(...Object.values(limits)) * 1e9);
  await runInWorld(world, {}, async () => {
    const pool = isShared ? findHost('POOL', 'deployment') : undefined;
    void pool?.invoke('setLimits', [limits]);
    await settleTasks();
    pool?.commitStep();
    const names = Array.from({ length: isShared ? SHARING_ACCOUNTS : 1 }, (_, nth) => `a${nth}`);
    const accounts = names.map((name) => findHost('ACCOUNT', name));
    const checkInvariants = () => {
      const used = accounts.reduce(
        (sum, { storage }) => sum + (storage.hasTable('ledger') ? sumLedger(storage) : 0),
        0,
      );
      if (used > most) throw new InvariantViolation(`${used} settled and held of ${most}`);
    };
    const json = { model, max_tokens: maxTokens, messages: [{ role: 'user', content: 'Hello there' }] };
    const text = JSON.stringify(json);
    const body: JsonBody = { bytes: new TextEncoder().encode(text), text, json };
    const sendOne = async (nth: number) => {
      const request: RequestToBill = {
        requestId: `req_${String(nth).padStart(26, '0')}`,
        identity: {
          account: names[nth % names.length] ?? '',
          scopes: new Set(),
        } as unknown as RequestToBill['identity'],
        accounts: env,
        store: env.STORE,
        settings,
        waitUntil: (work) => void work.catch((thrown: unknown) => world.fail(String(thrown))),
        route: 'messages',
        upstream: {} as RequestToBill['upstream'],
        body,
        model,
        tokenCount: 20,
        headers: {},
        streams: true,
      };
      const billed = new BilledRequest(request, { modelInBody: model });
      try {
        await billed.reserve();
      } catch (thrown) {
        if (!(thrown instanceof ApiError)) throw thrown;
        outcome.refused += 1;
        return;
      }
      const allowed = billed.latestAttempt.admission?.maxTokens ?? maxTokens;
      if (allowed < ANSWER_TOKENS) outcome.clipped += 1;
      const startedAt = world.clock.now;
      await new Promise((resolve) => setTimeout(resolve, ANSWER_MS));
      const usage = { input_tokens: 20, output_tokens: Math.min(ANSWER_TOKENS, allowed) };
      const ended = {
        model,
        usage,
        stop_reason: 'end_turn',
        bytes: 1,
        completed: true,
        error_type: undefined,
      } as const;
      const how = { status: 200, end: 'complete', upstream_request_id: 'req_up', sent: true } as const;
      await billed.settle({ ...ended, ...how, ttft_ms: world.clock.now - startedAt }).done;
    };
    world.suspendMishaps(REST_MS);
    let running = CALLERS;
    for (let nth = 0; nth < CALLERS; nth += 1) {
      void sendOne(nth)
        .catch((thrown: unknown) => world.fail(String(thrown)))
        .finally(() => {
          running -= 1;
        });
    }
    for (let steps = 0; running > 0; steps += 1) {
      if (steps > STEPS || !(await world.step())) throw new InvariantViolation(`${running} callers wait for ever`);
      checkInvariants();
    }
  });
  return outcome;
}

function sumLedger(storage: ReturnType<typeof findHost>['storage']): number {
  const query = "select coalesce(sum(case status when 'held' then hold else cost end), 0) as used from ledger";
  return Number(storage.exec(query, []).toArray()[0]?.used ?? 0);
}
