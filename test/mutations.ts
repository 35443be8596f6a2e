/**
 * Mistakes that the day's tests must find: `npm run planted` puts each into a copy of the source. Those that need schedules of
 * many steps to be found are in `simulation/mutations.ts`.
 */

export interface Mistake {
  name: string;
  file: string;
  /** What stands there, once, and what is put in its place. */
  edits: readonly (readonly [right: string, wrong: string])[];
  /** The file of tests that finds it, by day. The cheapest one: in Node before workerd, a browser last. */
  foundBy: string;
}

/** @returns a source with a mistake in it. @throws Error if a place of the mistake is not there, or more than once */
export function withMistake({ file, edits }: Mistake, source: string): string {
  return edits.reduce((text, [right, wrong]) => {
    if (text.split(right).length !== 2) throw new Error(`This does not stand once in ${file}: ${right}`);
    return text.replace(right, () => wrong);
  }, source);
}

export const MISTAKES: readonly Mistake[] = [
  {
    name: 'accounts: what is held counts as free in a lease',
    file: 'src/edge/rooms/pools/leases/lease.ts',
    edits: [['return granted - settled - held;', 'return granted - settled;']],
    foundBy: 'test/edge/rooms/pools/leases/lease.test.ts',
  },
  {
    name: 'accounts: more is leased than the account may use itself',
    file: 'src/edge/rooms/pools/leases/lease.ts',
    edits: [
      ['const most = Math.min(demand.most, own);', 'const most = demand.most;'],
      ['Math.min(own - most, Math.max(0, this.#peak - held - demand.most) + flow)', 'flow'],
      [', Math.max(wish, most), own - wish);', ', Math.max(wish, most));'],
    ],
    foundBy: 'test/simulation/hoarding.test.ts',
  },
  {
    name: 'accounts: a payer is named for a race that was lost',
    file: 'src/edge/money/account/decide-admission.ts',
    edits: [['{ ...held, by, late: true }', '{ ...held, by }']],
    foundBy: 'test/simulation/last-ask.test.ts',
  },
  {
    name: 'accounts: thinking that nobody saw is not paid',
    file: 'src/edge/money/admission/interrupted-cost.ts',
    edits: [['Math.max(seen.thinking, unseen)', 'Math.min(seen.thinking, unseen)']],
    foundBy: 'test/edge/money/admission/interrupted-cost.test.ts',
  },
  {
    name: 'accounts: clients are told to ask again in hours',
    file: 'src/edge/money/admission/limit-headers.ts',
    edits: [['const LONGEST_RETRY_S = 60;', 'const LONGEST_RETRY_S = 60_000;']],
    foundBy: 'test/edge/money/admission/limit-headers.test.ts',
  },
  {
    name: 'accounts: a request may run a fourth time',
    file: 'src/edge/money/admission/metered-exchange.ts',
    edits: [['const MOST_RAN = 3;', 'const MOST_RAN = 4;']],
    foundBy: 'test/simulation/tries.test.ts',
  },
  {
    name: 'accounts: a later try has no hold',
    file: 'src/edge/money/admission/metered-exchange.ts',
    edits: [
      [
        'return this.#goOnWith(await this.granted.again({ earlier: this.#earlier, waits: false }));',
        'return this.body;',
      ],
    ],
    foundBy: 'test/simulation/tries.test.ts',
  },
  {
    name: 'accounts: max_usd forgets the earlier tries',
    file: 'src/edge/money/budget/budget.ts',
    edits: [['most, settled: earlier, held: 0', 'most, settled: 0, held: 0']],
    foundBy: 'test/simulation/tries.test.ts',
  },
  {
    name: 'accounts: a later try waits in the line',
    file: 'src/edge/rooms/choice/ask-for-model.ts',
    edits: [['later?.waits === false || ', '']],
    foundBy: 'test/edge/claude/failover.test.ts',
  },
  {
    name: 'agents: one dear question is enough for a dearer model',
    file: 'src/edge/rooms/choice/choose-model.ts',
    edits: [['isDearer(agreed, model, models) ? { model: agreed,', 'isDearer(meant, model, models) ? { model: meant,']],
    foundBy: 'test/edge/rooms/choice/choose-model.test.ts',
  },
  {
    name: 'async: a failed call takes those who wait with it',
    file: 'src/edge/kit/async/shared-call.ts',
    edits: [['this.#current.then(begin, begin)', 'this.#current.then(begin)']],
    foundBy: 'test/edge/kit/async/shared-call.test.ts',
  },
  {
    name: 'async: work is not paced',
    file: 'src/edge/kit/async/in-steps.ts',
    edits: [
      [
        'if (this.#units <= UNITS_IN_A_STRETCH && this.#bytes <= BYTES_IN_A_STRETCH) return undefined;',
        'if (bytes >= 0) return undefined;',
      ],
    ],
    foundBy: 'test/e2e/repeats/stretches.timing.test.ts',
  },
  {
    name: 'upstream: who reads a stream late takes all of it in one stretch',
    file: 'src/edge/claude/carry/tee-reader.ts',
    edits: [['    else await pacer.before(TEE_PIECE_BYTES);\n', '']],
    foundBy: 'test/e2e/repeats/stretches.timing.test.ts',
  },
  {
    name: 'conversations: a row of a log is shown in one piece',
    file: 'src/edge/talk/storage/log-text.ts',
    edits: [['    if (shown.length > most) return { text: shown, next: event };\n', '']],
    foundBy: 'test/edge/talk/turn/event-log.test.ts',
  },
  {
    name: 'async: bytes are not counted',
    file: 'src/edge/kit/async/in-steps.ts',
    edits: [[' && this.#bytes <= BYTES_IN_A_STRETCH', '']],
    foundBy: 'test/edge/kit/async/in-steps.test.ts',
  },
  {
    name: 'async: all who wait come at once',
    file: 'src/edge/kit/async/in-steps.ts',
    edits: [['at + TURN_MS + (bytes', 'at + (bytes']],
    foundBy: 'test/edge/kit/async/in-steps.test.ts',
  },
  {
    name: 'async: a clock that was set back keeps everybody out',
    file: 'src/edge/kit/async/in-steps.ts',
    edits: [[' || freeAt > now + LONGEST_QUEUE_MS', '']],
    foundBy: 'test/edge/kit/async/in-steps.test.ts',
  },
  {
    name: 'auth: a group that a provider left out means that nobody pays',
    file: 'src/edge/gate/auth/group-claim.ts',
    edits: [["  if (isLeftOut(claims, name)) throw unreadable(name, 'is not in the token itself');\n", '']],
    foundBy: 'test/edge/gate/auth/group-claim.test.ts',
  },
  {
    name: 'auth: a token that should be bound is free',
    file: 'src/edge/gate/auth/only-claim.ts',
    edits: [
      ["  if (!otherwise) throw unboundable(name, 'is absent, and JWT_ONLY does not say what counts then');\n", ''],
    ],
    foundBy: 'test/edge/gate/auth/only-claim.test.ts',
  },
  {
    name: 'auth: a household has 256 brakes',
    file: 'src/edge/rooms/visitors/visitor-brake.ts',
    edits: [['first.slice(0, 14)', 'first.slice(0, 16)']],
    foundBy: 'test/edge/rooms/visitors/visitor-brake.test.ts',
  },
  {
    name: 'batches: a refused batch keeps its hold',
    file: 'src/edge/rooms/batches/tidy-batch.ts',
    edits: [["const isVoid = phase === 'refused' || phase === 'unsent' ||", "const isVoid = phase === 'unsent' ||"]],
    foundBy: 'test/edge/rooms/batches/batches.route.test.ts',
  },
  {
    name: 'batches: a list that was not read whole gives a hold back',
    file: 'src/edge/rooms/batches/unknown-batch.ts',
    edits: [['isThere || (isWhole ? false : undefined)', 'isThere']],
    foundBy: 'test/edge/rooms/batches/unknown-batches.test.ts',
  },
  {
    name: 'batches: an escaped quote ends an item',
    file: 'src/edge/rooms/batches/batch-body.ts',
    edits: [['        else if (byte === BACKSLASH) this.#isEscaped = true;\n', '']],
    foundBy: 'test/edge/rooms/batches/batch-body.test.ts',
  },
  {
    name: 'budget: a full bucket counts the time before it was used',
    file: 'src/edge/money/budget/bucket.ts',
    edits: [['return Math.max(fullAt, now) + units', 'return fullAt + units']],
    foundBy: 'test/edge/money/budget/bucket.test.ts',
  },
  {
    name: 'budget: one request takes all that is free',
    file: 'src/edge/money/budget/budget.ts',
    edits: [['(rules.clamp ? 2 : 1)', '(rules.clamp ? 1 : 2)']],
    foundBy: 'test/edge/money/budget/budget.test.ts',
  },
  {
    name: 'budget: a week begins on Sunday',
    file: 'src/edge/money/budget/windows.ts',
    edits: [['((((day + 3) % 7) + 7) % 7)', '((((day + 4) % 7) + 7) % 7)']],
    foundBy: 'test/edge/money/budget/windows.test.ts',
  },
  {
    name: 'budget: a request is paid in the window in which it ends',
    file: 'src/edge/money/budget/state.ts',
    edits: [
      [
        'for (const window of windowsAt(budget, hold.at, hold.group)) {',
        'for (const window of windowsAt(budget, budget.last, hold.group)) {',
      ],
    ],
    foundBy: 'test/edge/money/budget/budget.test.ts',
  },
  {
    name: 'cache: what is deleted still takes room',
    file: 'src/edge/kit/cache/lru.ts',
    edits: [['    this.#size -= entry.size;\n', '']],
    foundBy: 'test/edge/kit/cache/lru.test.ts',
  },
  {
    name: 'cache: what is read is not kept longer',
    file: 'src/edge/kit/cache/lru.ts',
    edits: [['    this.#entries.delete(key);\n    this.#entries.set(key, entry);\n', '']],
    foundBy: 'test/edge/kit/cache/lru.test.ts',
  },
  {
    name: 'classification: precision and recall are swapped',
    file: 'src/edge/rooms/evaluation/metrics.ts',
    edits: [
      ['precision: ratio(tp, tp + fp)', 'precision: ratio(tp, tp + fn)'],
      ['recall: ratio(tp, tp + fn)', 'recall: ratio(tp, tp + fp)'],
    ],
    foundBy: 'test/edge/rooms/evaluation/metrics.test.ts',
  },
  {
    name: 'classification: one call more than may runs at once',
    file: 'src/edge/named/classify/task/concurrency-limiter.ts',
    edits: [['if (this.#running < this.#most) this', 'if (this.#running <= this.#most) this']],
    foundBy: 'test/edge/named/classify/task/concurrency-limiter.test.ts',
  },
  {
    name: 'classification: an answer by some of the votes is kept',
    file: 'src/edge/named/classify/task/classify.ts',
    edits: [['choices.length === votes && isOfModel', 'isOfModel']],
    foundBy: 'test/edge/named/classify/classify.route.test.ts',
  },
  {
    name: 'classifications: equal inputs are asked about each',
    file: 'src/edge/rooms/classify-batches/begin-classification.ts',
    edits: [['joins ? (firsts.get(input) ?? n) : n', 'n']],
    foundBy: 'test/edge/rooms/classify-batches/classifications.route.test.ts',
  },
  {
    name: 'client: the last event comes again after a reconnect',
    file: 'src/client/stream.ts',
    edits: [['if (number <= this.#number) return;', 'if (number < this.#number) return;']],
    foundBy: 'test/client/stream.test.ts',
  },
  {
    name: 'client: a run makes a step more than it may',
    file: 'src/client/run.ts',
    edits: [['      if (turn >= max_turns) return;\n', '      if (turn > max_turns) return;\n']],
    foundBy: 'test/client/run.test.ts',
  },
  {
    name: 'client: results that were cut count as all',
    file: 'src/client/batches.ts',
    edits: [['if (missing > 0) throw', 'if (missing < 0) throw']],
    foundBy: 'test/client/batches.test.ts',
  },
  {
    name: 'client: each request that was refused gets a token of its own',
    file: 'src/client/renewing-token.ts',
    edits: [['const isOurs = this.#held === asked;', 'const isOurs = true;']],
    foundBy: 'test/client/renewing-token.test.ts',
  },
  {
    name: 'conversations: a call is answered twice',
    file: 'src/edge/talk/history/continuation.ts',
    edits: [['    answered.add(id);\n', '']],
    foundBy: 'test/edge/talk/history/continuation.test.ts',
  },
  {
    name: 'conversations: thinking without its signature is sent up',
    file: 'src/edge/talk/history/replayable-blocks.ts',
    edits: [["      if (value.type === 'thinking' && !value.signature) return false;\n", '']],
    foundBy: 'test/edge/talk/history/replayable-blocks.test.ts',
  },
  {
    name: 'conversations: a history is cut within a tool loop',
    file: 'src/edge/talk/history/truncate.ts',
    edits: [['if (index > 0 && !turn.follows && tokens', 'if (index > 0 && tokens']],
    foundBy: 'test/edge/talk/history/truncate.test.ts',
  },
  {
    name: 'approvals: a call that nobody could approve, and is made',
    file: 'src/edge/rooms/runs/run-calls.ts',
    edits: [['if (lacking) return failedCall', "if (lacking === '') return failedCall"]],
    foundBy: 'test/edge/rooms/approvals/absent.test.ts',
  },
  {
    name: 'conversations: a run pauses a step late',
    file: 'src/edge/rooms/runs/limits.ts',
    edits: [['this.#steps >= this.#limits.max_turns', 'this.#steps > this.#limits.max_turns']],
    foundBy: 'test/edge/rooms/runs/limits.test.ts',
  },
  {
    name: 'conversations: what a hidden block says is shown',
    file: 'src/edge/talk/turn/log-blocks.ts',
    edits: [['    known.isHidden ||= isHiddenBlock(block);\n', '']],
    foundBy: 'test/edge/talk/answers/hidden-answer.test.ts',
  },
  {
    name: 'conversations: event numbers are given again after a crash',
    file: 'src/edge/talk/turn/restore-turn.ts',
    edits: [['  log.skip(SKIPPED_EVENT_NUMBERS);\n', '']],
    foundBy: 'test/edge/talk/turn/restore-turn.test.ts',
  },
  {
    name: 'conversations: a checksum does not see another order',
    file: 'src/edge/talk/storage/damaged-row.ts',
    edits: [['(Math.imul(sum, 31) + text.charCodeAt(at)) | 0', '(sum + text.charCodeAt(at)) | 0']],
    foundBy: 'test/edge/talk/storage/damaged-row.test.ts',
  },
  {
    name: 'conversations: what was not kept of an answer takes room',
    file: 'src/edge/rooms/mcp/call-mcp.ts',
    edits: [['    room.left += used - (result?.bytes ?? 0);\n', '']],
    foundBy: 'test/edge/rooms/mcp/call-mcp.test.ts',
  },
  {
    name: 'delivery: a redirect counts as delivered',
    file: 'src/edge/kit/delivery/deliver.ts',
    edits: [['if (status >= 200 && status < 300)', 'if (status >= 200 && status < 400)']],
    foundBy: 'test/edge/kit/delivery/deliver.test.ts',
  },
  {
    name: 'delivery: a signature of the future holds',
    file: 'src/edge/kit/delivery/signature.ts',
    edits: [['Math.abs(now / 1_000 - seconds)', 'now / 1_000 - seconds']],
    foundBy: 'test/edge/kit/delivery/signature.test.ts',
  },
  {
    name: 'durable: a later need puts the alarm off',
    file: 'src/edge/kit/objects/alarm.ts',
    edits: [['if (this.#due === null || at < this.#due) this.#due = at;', 'this.#due = at;']],
    foundBy: 'test/edge/kit/objects/alarm.test.ts',
  },
  {
    name: 'durable: only the last call says whether one may have run',
    file: 'src/edge/kit/objects/call-object.ts',
    edits: [['mayHaveRun ||= !isOverloaded(thrown)', 'mayHaveRun = !isOverloaded(thrown)']],
    foundBy: 'test/edge/kit/objects/call-object.test.ts',
  },
  {
    name: 'durable: what a later release has written is guessed',
    file: 'src/edge/kit/objects/stored-format.ts',
    edits: [["if (typeof version === 'number' && version <= reads)", "if (typeof version === 'number')"]],
    foundBy: 'test/edge/kit/objects/stored-format.test.ts',
  },
  {
    name: 'files: a file that is gone stays in the account',
    file: 'src/edge/rooms/files/files.route.ts',
    edits: [['if (isDeleted || response.status === 404) await', 'if (isDeleted) await']],
    foundBy: 'test/edge/rooms/files/files.route.test.ts',
  },
  {
    name: 'http: a caller who has left still counts',
    file: 'src/edge/kit/http/body-room.ts',
    edits: [['    this.#bytes = undefined;\n    this.#uncount();\n', '    this.#bytes = undefined;\n']],
    foundBy: 'test/edge/kit/http/body-room.test.ts',
  },
  {
    name: 'http: two backslashes escape a quote',
    file: 'src/edge/kit/http/body-shape.ts',
    edits: [['return escapes % 2 === 1;', 'return escapes > 0;']],
    foundBy: 'test/edge/kit/http/body-shape.test.ts',
  },
  {
    name: 'http: a secret that is the beginning of another leaves its end',
    file: 'src/edge/kit/http/secrets.ts',
    edits: [['(left, right) => right.length - left.length', '(left, right) => left.length - right.length']],
    foundBy: 'test/edge/kit/http/secrets.test.ts',
  },
  {
    name: 'http: the last private network is public',
    file: 'src/edge/kit/http/headers/hosts.ts',
    edits: [['b >= 16 && b < 32', 'b >= 16 && b < 31']],
    foundBy: 'test/edge/kit/http/headers/hosts.test.ts',
  },
  {
    name: 'identity: a tag is named twice',
    file: 'src/edge/gate/identity/tags.ts',
    edits: [['names.size === pairs.length && pairs.length', 'pairs.length']],
    foundBy: 'test/edge/gate/identity/tags.test.ts',
  },
  {
    name: 'json: of a repeated key the first one stays, too',
    file: 'src/edge/kit/json/edit.ts',
    edits: [[' && last.get(member.key) === index);', ');']],
    foundBy: 'test/edge/kit/json/edit.test.ts',
  },
  {
    name: 'kv: answers of another account are forgotten, too',
    file: 'src/edge/named/classify/classified-answers.ts',
    edits: [['name.length === prefix.length + HASH_CHARACTERS', 'name.startsWith(prefix)']],
    foundBy: 'test/edge/named/classify/classified-answers.test.ts',
  },
  {
    name: 'messages: what an answer of an agent may cost has no limit',
    file: 'src/edge/talk/messages/stateless-message.ts',
    edits: [['most: mostOf(memberTexts(laid)) }', 'most: undefined }']],
    foundBy: 'test/edge/talk/messages/stateless-message.test.ts',
  },
  {
    name: 'metrics: an unknown name becomes a label',
    file: 'src/edge/rooms/pools/spent-families.ts',
    edits: [['(known(key) ?? OTHER_LABEL)', '(known(key) ?? key)']],
    foundBy: 'test/edge/rooms/operator/metrics.route.test.ts',
  },
  {
    name: 'page: links to javascript: are let through',
    file: 'src/page/ui/sanitize.ts',
    edits: [['/^(?:(?:https?|mailto):|#note-)/i', '/^(?:[a-z]+:|#note-)/i']],
    foundBy: 'test/page/ui/sanitize.test.ts',
  },
  {
    name: 'page: an emptied limit of an account becomes $0',
    file: 'src/page/budget/limits-form.tsx',
    edits: [["return [name, value === '' ? null : Number(value)];", 'return [name, Number(value)];']],
    foundBy: 'test/page/budget/limits.test.ts',
  },
  {
    name: 'page: an emptied limit in a row becomes $0',
    file: 'src/page/budget/limit-cell.tsx',
    edits: [["const usd = text.trim() === '' ? null : Number(text);", 'const usd = Number(text);']],
    foundBy: 'test/page/budget/limits.test.ts',
  },
  {
    name: 'page: Stop only stops listening',
    file: 'src/page/chat/session/session.ts',
    edits: [
      [
        'await this.live.value?.stream.stop().catch((thrown: unknown) => this.fail(thrown));',
        'this.live.value?.stream.close();',
      ],
    ],
    foundBy: 'test/page/chat/composer/composer.test.ts',
  },
  {
    name: 'page: Stop of the page does nothing',
    file: 'src/page/chat/composer/composer.tsx',
    edits: [['title="Stop" onClick={() => void current?.stop()}', 'title="Stop"']],
    foundBy: 'test/page/chat/composer/composer.test.ts',
  },
  {
    name: 'page: the last of the chosen days is left out',
    file: 'src/page/budget/figures/days.ts',
    edits: [['to: dayAfter(ownDays.value.last)', 'to: ownDays.value.last']],
    foundBy: 'test/page/budget/figures/days.test.ts',
  },
  {
    name: 'pools: the next page begins with the row that was last',
    file: 'src/edge/rooms/pools/spenders.ts',
    edits: [['< (isInclusive ? 1 : 0)', '< 0']],
    foundBy: 'test/edge/rooms/pools/spenders.test.ts',
  },
  {
    name: 'prefixes: where the costs are equal, a prefix pays',
    file: 'src/edge/named/prefixes/break-even.ts',
    edits: [['Math.floor((write - read) / (cold - read)) + 1', 'Math.ceil((write - read) / (cold - read))']],
    foundBy: 'test/edge/named/prefixes/break-even.test.ts',
  },
  {
    name: 'pricing: an estimate of searches forgets what those before have added',
    file: 'src/edge/claude/pricing/worst-case.ts',
    edits: [['(added * grown * (grown - 1)) / 2', 'added * (grown - 1)']],
    foundBy: 'test/edge/claude/pricing/worst-case.test.ts',
  },
  {
    name: 'pricing: a prompt of just the limit is a long one',
    file: 'src/edge/claude/pricing/cost.ts',
    edits: [['promptTokens(usage) > long.above_tokens', 'promptTokens(usage) >= long.above_tokens']],
    foundBy: 'test/edge/claude/pricing/cost.test.ts',
  },
  {
    name: 'pricing: cache writes that nobody told of are the cheaper ones',
    file: 'src/edge/claude/pricing/cost.ts',
    edits: [["return cacheTtl === '1h'\n", "return cacheTtl === '5m'\n"]],
    foundBy: 'test/edge/claude/pricing/cost.test.ts',
  },
  {
    name: 'pricing: a request counts once more for each of its tags',
    file: 'src/edge/claude/pricing/usage-sums.ts',
    edits: [['hasSeveral ? groups.filter(({ value }) => value === ANY_VALUE) : groups', 'groups']],
    foundBy: 'test/edge/claude/pricing/usage-sums.test.ts',
  },
  {
    name: 'pricing: a model begins to think where there is no room for it',
    file: 'src/edge/claude/pricing/takes.ts',
    edits: [['[thinks && comesIn && most < room,', '[thinks && comesIn && most < 0,']],
    foundBy: 'test/edge/claude/pricing/takes.test.ts',
  },
  {
    name: 'pricing: a model steps in that refuses the request',
    file: 'src/edge/rooms/choice/model-choice.ts',
    edits: [['if (model !== present && !refused)', 'if (model !== present)']],
    foundBy: 'test/edge/claude/failover.test.ts',
  },
  {
    name: 'settings: a test secret of Turnstile lets everybody in',
    file: 'src/edge/rooms/visitors/visitor-settings.ts',
    edits: [['if (secret !== undefined && isTurnstileTest(secret))', 'if (secret === undefined)']],
    foundBy: 'test/edge/rooms/visitors/visitor-settings.test.ts',
  },
  {
    name: 'simulator: a fault comes once more than asked',
    file: 'src/simulator/faults.ts',
    edits: [['seen < faults.times', 'seen <= faults.times']],
    foundBy: 'test/simulator/faults.test.ts',
  },
  {
    name: 'simulator: a breakpoint looks back a block too far',
    file: 'src/simulator/prompt/prompt-cache.ts',
    edits: [['at > Math.max(hit, index - LOOKBACK)', 'at > Math.max(hit, index - LOOKBACK - 1)']],
    foundBy: 'test/simulator/prompt/prompt-cache.test.ts',
  },
  {
    name: 'simulator: a batch that has ended can be canceled',
    file: 'src/simulator/batches/batches-api.ts',
    edits: [['if (now >= endOf(batch)) throw', 'if (now < batch.createdAt) throw']],
    foundBy: 'test/simulator/batches/batches-api.test.ts',
  },
  {
    name: 'simulator: thinking is on top of max_tokens',
    file: 'src/simulator/answer/answer-blocks.ts',
    edits: [['if (tokens <= 0) return;\n    this.outputTokens += tokens;', 'if (tokens <= 0) return;']],
    foundBy: 'test/simulator/api-rules.test.ts',
  },
  {
    name: 'simulator: a model that always thinks leaves it out',
    file: 'src/simulator/answer/thinking-amount.ts',
    edits: [[" && model.thinking?.default !== 'always'", '']],
    foundBy: 'test/simulator/api-rules.test.ts',
  },
  {
    name: 'simulator: no model thinks without being asked',
    file: 'src/simulator/request/message-params.ts',
    edits: [["(model.thinking?.default ?? 'off') === 'off'", "(model.thinking?.default ?? 'off') !== 'always'"]],
    foundBy: 'test/simulator/api-rules.test.ts',
  },
  {
    name: 'simulator: thinking is off at any effort',
    file: 'src/simulator/request/model-rules.ts',
    edits: [['off_efforts.includes(effort)', 'off_efforts.length > 0']],
    foundBy: 'test/simulator/api-rules.test.ts',
  },
  {
    name: 'simulator: a forced tool is taken by all',
    file: 'src/simulator/request/tool-definitions.ts',
    edits: [['isForced && model.forced_tools === false', 'isForced && model.forced_tools === undefined']],
    foundBy: 'test/simulator/api-rules.test.ts',
  },
  {
    name: 'simulator: an answer is continued where thinking is off',
    file: 'src/simulator/request/model-rules.ts',
    edits: [["if (lacks(model, 'prefill')) {", "if (lacks(model, 'prefill') && thinking.type !== 'disabled') {"]],
    foundBy: 'test/simulator/api-rules.test.ts',
  },
  {
    name: 'simulator: a low temperature is taken by all',
    file: 'src/simulator/request/model-rules.ts',
    edits: [['temperature !== undefined && temperature !== 1,', 'temperature !== undefined && temperature > 1,']],
    foundBy: 'test/simulator/api-rules.test.ts',
  },
  {
    name: 'simulator: thinking is left out in the middle',
    file: 'src/simulator/random/signatures.ts',
    edits: [['prefixes.includes(seal.prefix) && !isGap', 'prefixes.includes(seal.prefix)']],
    foundBy: 'test/simulator/api-rules.test.ts',
  },
  {
    name: 'simulator: any account reads what was thought',
    file: 'src/simulator/random/signatures.ts',
    edits: [["seal.account !== '' && seal.account !== here.account", "seal.account !== '' && here.account === ''"]],
    foundBy: 'test/simulator/api-rules.test.ts',
  },
  {
    name: 'simulator: fast mode has no end',
    file: 'src/simulator/request/model-rules.ts',
    edits: [['Date.parse(fast_until) <= now', 'Date.parse(fast_until) <= 0']],
    foundBy: 'test/simulator/api-rules.test.ts',
  },
  {
    name: 'sse: a cut does not complete an event whose data is complete',
    file: 'src/edge/kit/sse/endings.ts',
    edits: [['  if (completed !== undefined) return completed + errorEvent;\n', '']],
    foundBy: 'test/edge/kit/sse/endings.test.ts',
  },
  {
    name: 'sse: data that is not finished becomes part of the error',
    file: 'src/edge/kit/sse/endings.ts',
    edits: [["? 'event: ping\\n\\n' : ''", "? '' : ''"]],
    foundBy: 'test/edge/kit/sse/typed-ends.test.ts',
  },
  {
    name: 'sse: a line end of two characters is two',
    file: 'src/edge/kit/sse/lines.ts',
    edits: [['isCarriage && bytes[end + 1] === LINE_FEED ? end + 2 : end + 1', 'end + 1']],
    foundBy: 'test/edge/kit/sse/lines.test.ts',
  },
  {
    name: 'sse: an event that a piece ends with the second line feed alone is late',
    file: 'src/edge/kit/sse/frames.ts',
    edits: [[" || (text.startsWith('\\n') && this.#parts.at(-1)?.endsWith('\\n'))", '']],
    foundBy: 'test/edge/kit/sse/frames.test.ts',
  },
  {
    name: 'toolkit: a second tool of the same name takes the place of the first',
    file: 'src/edge/rooms/runs/tools/worker-tools.ts',
    edits: [['if (before && before !== tool) {', 'if (before === tool) {']],
    foundBy: 'test/edge/toolkit/own-tools.test.ts',
  },
  {
    name: 'the last count wins: of the prompt, wherever it is read',
    file: 'src/edge/claude/usage/told-usage.ts',
    edits: [['promptTokens(usage) < promptTokens(earlier)', 'promptTokens(usage) < 0']],
    foundBy: 'test/edge/claude/usage/told-usage.test.ts',
  },
  {
    name: 'the last count wins: of what only grows, wherever it is read',
    file: 'src/edge/claude/usage/told-usage.ts',
    edits: [['return Math.max(earlier, wholeCount(later));', 'return wholeCount(later);']],
    foundBy: 'test/edge/claude/usage/told-usage.test.ts',
  },
  {
    name: 'the last count wins: in a stream',
    file: 'src/edge/claude/usage/usage-reader.ts',
    edits: [
      [
        "this.#report.usage = this.#told.take(memberOf(value, 'usage'), true);",
        "this.#told.take(memberOf(value, 'usage'), true);\n      Object.assign(this.#report.usage ?? {}, memberOf(value, 'usage'));",
      ],
    ],
    foundBy: 'test/edge/claude/usage/told-usage.test.ts',
  },
  {
    name: 'the last count wins: in a stream that is read by its ends',
    file: 'src/edge/claude/usage/usage-reader.ts',
    edits: [
      [
        'if (text.indexOf(DELTA_EVENT) !== text.lastIndexOf(DELTA_EVENT)) return false;',
        "if (text === '') return false;",
      ],
    ],
    foundBy: 'test/edge/claude/usage/told-usage.test.ts',
  },
  {
    name: 'the last count wins: in an answer that rides',
    file: 'src/edge/claude/whole-message.ts',
    edits: [['told.filter(holds)', 'told.filter((one) => holds(one) || true)']],
    foundBy: 'test/edge/claude/usage/told-usage.test.ts',
  },
  {
    name: 'the last count wins: in a turn',
    file: 'src/edge/talk/turn/message-builder.ts',
    edits: [
      [
        '...this.told.take(usage, true) };',
        '...this.told.take(usage, true), ...usage };\n    this.told.usage = message.usage as Usage;',
      ],
    ],
    foundBy: 'test/edge/claude/usage/told-usage.test.ts',
  },
  {
    name: 'the last count wins: in the result of a batch',
    file: 'src/edge/rooms/batches/read-results.ts',
    edits: [
      [
        'const { usage, model = row.model } = report;',
        'const { model = row.model } = report;\n    const usage = isObject(message.usage) ? message.usage : undefined;\n    report.usage = { input_tokens: 1, output_tokens: 0 };',
      ],
    ],
    foundBy: 'test/edge/claude/usage/told-usage.test.ts',
  },
  {
    name: 'the last count wins: in a vote of a batch',
    file: 'src/edge/rooms/batches/label-results.ts',
    edits: [['const { usage } = reportOf(message, 0);', 'const usage = message?.usage as Usage | undefined;']],
    foundBy: 'test/edge/claude/usage/told-usage.test.ts',
  },
  {
    name: 'the last count wins: behind a model that stepped in, of the one before',
    file: 'src/edge/claude/usage/told-usage.ts',
    edits: [['    this.#isOther = true;\n', '    this.#isOther = false;\n']],
    foundBy: 'test/edge/claude/usage/told-usage.test.ts',
  },
  {
    name: 'the last count wins: a prompt of 0 is final',
    file: 'src/edge/claude/usage/told-usage.ts',
    edits: [['return tellsPrompt(usage) ||', 'return !tellsPrompt(usage) || tellsPrompt(usage) ||']],
    foundBy: 'test/edge/claude/usage/told-usage.test.ts',
  },
  {
    name: 'the last count wins: a prompt of 0 costs nothing where the answer is cut',
    file: 'src/edge/money/admission/interrupted-cost.ts',
    edits: [['!isCount(usage.input_tokens) || !tellsPrompt(usage)', '!isCount(usage.input_tokens)']],
    foundBy: 'test/edge/money/admission/interrupted-cost.test.ts',
  },
  {
    name: 'tools: a tool that must run once is called again',
    file: 'src/edge/rooms/runs/tools/stored-tools.ts',
    edits: [['run.once ?? !isRepeatable', 'run.once ?? isRepeatable']],
    foundBy: 'test/edge/rooms/runs/tools/stored-tools.test.ts',
  },
  {
    name: 'upstream: half of the tries may fail',
    file: 'src/edge/claude/upstreams/breaker.ts',
    edits: [['failed * 2 >= tries', 'failed >= tries']],
    foundBy: 'test/edge/claude/upstreams/breaker.test.ts',
  },
  {
    name: 'upstream: of those that rest the last one is asked first',
    file: 'src/edge/claude/upstreams/order.ts',
    edits: [['left.dueAt - right.dueAt', 'right.dueAt - left.dueAt']],
    foundBy: 'test/edge/claude/upstreams/order.test.ts',
  },
  {
    name: 'upstream: an error that is cut shows the beginning of a secret',
    file: 'src/edge/claude/carry/error-mask.ts',
    edits: [['return withoutBegunSecret(masked(text));', 'return masked(text);']],
    foundBy: 'test/edge/claude/carry/error-mask.test.ts',
  },
  {
    name: 'upstream: a token of Google lives for milliseconds',
    file: 'src/edge/rooms/clouds/google-tokens.ts',
    edits: [['data.expires_in * 1_000', 'data.expires_in']],
    foundBy: 'test/edge/rooms/clouds/google-tokens.test.ts',
  },
  {
    name: 'versions: a withdrawn version is used',
    file: 'src/edge/named/versions/kv-copies.ts',
    edits: [
      [
        "if (known.hash === '' || known.withdrawn.includes(hash)) return false;",
        "if (known.hash === '') return false;",
      ],
    ],
    foundBy: 'test/edge/named/versions/withdrawn.test.ts',
  },
  {
    name: 'versions: a pointer is believed for ever',
    file: 'src/edge/named/versions/kv-copies.ts',
    edits: [['believed && believed.until > this.now() ?', 'believed ?']],
    foundBy: 'test/edge/named/versions/kv-copies.test.ts',
  },
  {
    name: 'webhooks: a text that gets no label is tried for ever',
    file: 'src/edge/rooms/webhooks/webhook-job.ts',
    edits: [["reason === 'input' || (reason === 'answer' && failures > 0)", "reason === 'input'"]],
    foundBy: 'test/edge/rooms/webhooks/webhook-job.test.ts',
  },
  {
    name: 'webhooks: what the pools hold for others is a failure',
    file: 'src/edge/rooms/webhooks/webhook-job.ts',
    edits: [["isOwn && passes !== 'never'", "isOwn && passes === 'later'"]],
    foundBy: 'test/edge/money/admission/what-limited.test.ts',
  },
  {
    name: 'webhooks: a failed delivery does not count',
    file: 'src/edge/rooms/webhooks/inbox/inbox.ts',
    edits: [['failures: event.failures + 1, dueAt', 'failures: event.failures, dueAt']],
    foundBy: 'test/edge/rooms/webhooks/webhook-job.test.ts',
  },
];
