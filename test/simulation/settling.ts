/** Settlements on their way from their isolates: requests and isolates die, calls are lost and come twice. */
import fc from 'fast-check';
import { parseSettingsOnce } from '#edge/config/settings.ts';
import { requestAdmissionOfAccount } from '#edge/money/admission/request-admission.ts';
import { type AccountTarget, callAccount, sendSettlement } from '#edge/money/contracts/call-account.ts';
import { worstCaseWith } from '../edge/money/account/admission-requests.ts';
import { AccountModel, LIMIT } from './account-model.ts';
import { createIsolateAccounts, env, findHost, runInWorld } from './bindings.ts';
import { type Host, InvariantViolation } from './host.ts';
import { mishaps } from './mishaps.ts';
import { findFailure } from './property.ts';
import { type Mishaps, type Scheduler, World } from './world.ts';

type Command =
  /** A request, from its admission to its settlement; `share` is what it costs of its hold. */
  | { kind: 'request'; isolate: number; share: number }
  /** Something else that is asked of the account. */
  | { kind: 'read'; isolate: number }
  /** An isolate is gone, with all requests in it. */
  | { kind: 'die'; isolate: number };

interface Scenario extends Mishaps {
  commands: readonly Command[];
}

const ACCOUNT = 'alice';
const STEPS = 400;
const REST_MS = 60 * 60_000;
const ISOLATES = 2;
const WORST_CASE = worstCaseWith({ outputTokens: 800 });
const DEFAULTS = { usd_per_day: LIMIT / 1e9, on_shortfall: 'refuse' as const };

const isolate = fc.integer({ min: 0, max: ISOLATES - 1 });
const request = fc.record({
  kind: fc.constant('request' as const),
  isolate,
  share: fc.constantFrom(0, 0.25, 0.5, 3),
}) as fc.Arbitrary<Command>;
const other = fc.record({ kind: fc.constantFrom('read', 'die'), isolate }) as fc.Arbitrary<Command>;

const scenarios: fc.Arbitrary<Scenario> = fc.record({
  commands: fc.array(fc.oneof({ arbitrary: request, weight: 5 }, { arbitrary: other, weight: 1 }), {
    minLength: 2,
    maxLength: 8,
  }),
  ...mishaps,
});

/** Looks for a schedule under which something does not hold. */
export const findFailingSchedule = () => findFailure(scenarios, runScenario);

/** Runs a scenario in the order that a scheduler chooses, and looks at the invariants after every step. */
async function runScenario(scheduler: Scheduler, scenario: Scenario): Promise<void> {
  const world = new World(scheduler, scenario);
  const store = new Map<string, string>();
  await runInWorld(world, { store }, async () => {
    const account = findHost('ACCOUNT', ACCOUNT);
    const model = new AccountModel(account, world, store);
    const requests = new IsolateRequests(world, account, model);
    const checkInvariants = () => {
      model.check();
      requests.noteLedgerRows();
    };
    requests.issue(scenario.commands);
    await world.runSteps(STEPS, checkInvariants);
    await world.runToRest(REST_MS, checkInvariants);
    model.checkAtRest();
    requests.checkAtRest();
  });
}

/** One of the requests. */
interface RequestProgress {
  hold: number | undefined;
  cost: number | undefined;
  /** Whether it has been told that the account has settled it. */
  isSettled: boolean;
}

/** Requests of some isolates, each of which may die by itself. */
class IsolateRequests {
  readonly #world: World;
  readonly #model: AccountModel;
  readonly #account: Host;
  /** How the account has them, as was seen last. */
  readonly #ledgerRows = new Map<string, { status: string; cost: number }>();
  #lastCheckedChanges = 0;
  readonly #progressById = new Map<string, RequestProgress>();
  readonly #isolates = Array.from({ length: ISOLATES }, () => new Isolate());

  constructor(world: World, account: Host, model: AccountModel) {
    this.#world = world;
    this.#account = account;
    this.#model = model;
  }

  /** Issues commands one after the other, without waiting for what comes of them. */
  issue(commands: readonly Command[]): void {
    void (async () => {
      for (const command of commands) {
        await this.#world.waitForTurn(`client: ${command.kind}`);
        this.#perform(command);
      }
    })();
  }

  /** Notes what the account has of each request: in the end its rows are too old and are deleted. */
  noteLedgerRows(): void {
    if (this.#lastCheckedChanges === this.#account.storage.changes) return;
    this.#lastCheckedChanges = this.#account.storage.changes;
    for (const { id, status, cost } of this.#model.rows()) this.#ledgerRows.set(id, { status, cost });
  }

  /** What was told to be settled is, at its cost; of those that died before, the account may know no more than the hold. */
  checkAtRest(): void {
    for (const [id, course] of this.#progressById) {
      const row = this.#ledgerRows.get(id);
      const isRight = row?.status === 'complete' && row.cost === course.cost;
      if (isRight || (!course.isSettled && (row === undefined || row.status === 'orphaned'))) continue;
      throw new InvariantViolation(`${id} was ${JSON.stringify(course)}, and is ${JSON.stringify(row)}`);
    }
  }

  #perform({ kind, ...command }: Command): void {
    const place = this.#isolates[command.isolate];
    if (!place) throw new Error('There is no such isolate.');
    if (kind === 'die') {
      for (const host of place.hosts) host.crash(false);
      this.#isolates[command.isolate] = new Isolate();
      return;
    }
    const id = `req_${String(this.#progressById.size + 1).padStart(24, '0')}`;
    const course: RequestProgress = { hold: undefined, cost: undefined, isSettled: false };
    if (kind === 'request') this.#progressById.set(id, course);
    const run =
      'share' in command
        ? () => this.#admitAndSettle(id, course, command.share, place.createRequestContext())
        : () => callAccount(place.createRequestContext(), (account) => account.getQuotaReport());
    const host = this.#world.getHost('request', `${kind} ${this.#world.hosts.length}`, () => ({ run }));
    place.hosts.push(host);
    // What an account that cannot be reached leaves undone is its own to see to.
    host.invoke('run', []).catch(() => {});
  }

  async #admitAndSettle(
    requestId: string,
    course: RequestProgress,
    share: number,
    place: AccountTarget,
  ): Promise<void> {
    const startedAt = this.#world.clock.now;
    const asked = {
      requestId,
      route: 'messages',
      model: 'claude-opus-5-5',
      maximumCost: WORST_CASE,
      defaults: DEFAULTS,
    };
    const decision = await requestAdmissionOfAccount(place, asked);
    if (decision.outcome !== 'admitted') return;
    await this.#world.hop(`${requestId} is answered`);
    const { hold } = decision;
    const cost = Math.floor(hold * share);
    Object.assign(course, { hold, cost });
    if (cost > hold) this.#model.allowExcess(cost);
    const settlement = JSON.stringify({ requestId, status: 'complete', cost, startedAt });
    const { cost: told } = await sendSettlement(place, settlement);
    if (told !== cost) throw new TypeError(`${requestId} was told that it has cost ${told}, not ${cost}`);
    course.isSettled = true;
  }
}

/** An isolate, which dies with all its requests. */
class Isolate {
  readonly hosts: Host[] = [];
  readonly #accounts = createIsolateAccounts();

  /** @returns what one request calls the account by */
  createRequestContext(): AccountTarget {
    return { identity: { account: ACCOUNT }, accounts: this.#accounts, settings: parseSettingsOnce(env) };
  }
}
