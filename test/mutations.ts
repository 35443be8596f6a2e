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

/** @returns mistakes in a file, by their names, that one file of tests finds */
const planted = (file: string, foundBy: string, mistakes: Readonly<Record<string, Mistake['edits']>>): Mistake[] =>
  Object.entries(mistakes).map(([name, edits]) => ({ name, file, edits, foundBy }));

export const MISTAKES: readonly Mistake[] = [
  ...planted('src/edge/rooms/pools/leases/lease.ts', 'test/edge/rooms/pools/leases/lease.test.ts', {
    'accounts: what is held counts as free in a lease': [
      ['return granted - settled - held;', 'return granted - settled;'],
    ],
  }),
  ...planted('src/edge/rooms/pools/leases/lease.ts', 'test/simulation/hoarding.test.ts', {
    'accounts: more is leased than the account may use itself': [
      ['const most = Math.min(demand.most, own);', 'const most = demand.most;'],
      ['Math.min(own - most, Math.max(0, this.#peak - held - demand.most) + flow)', 'flow'],
      [', Math.max(wish, most), own - wish);', ', Math.max(wish, most));'],
    ],
  }),
  ...planted('src/edge/money/account/ask-payers.ts', 'test/simulation/last-ask.test.ts', {
    'accounts: a payer is named for a race that was lost': [['{ ...held, by, late: true }', '{ ...held, by }']],
  }),
  ...planted('src/edge/money/admission/interrupted-cost.ts', 'test/edge/money/admission/interrupted-cost.test.ts', {
    'accounts: thinking that nobody saw is not paid': [
      ['Math.max(seen.thinking, unseen)', 'Math.min(seen.thinking, unseen)'],
    ],
    'the last count wins: a prompt of 0 costs nothing where the answer is cut': [
      ['!isCount(usage.input_tokens) || !tellsPrompt(usage)', '!isCount(usage.input_tokens)'],
    ],
  }),
  ...planted('src/edge/money/admission/limit-headers.ts', 'test/edge/money/admission/limit-headers.test.ts', {
    'accounts: clients are told to ask again in hours': [
      ['const LONGEST_RETRY_S = 60;', 'const LONGEST_RETRY_S = 60_000;'],
    ],
  }),
  ...planted('src/edge/money/admission/metered-exchange.ts', 'test/simulation/tries.test.ts', {
    'accounts: a request may run a fourth time': [['const MOST_RAN = 3;', 'const MOST_RAN = 4;']],
    'accounts: a later try has no hold': [
      [
        'return this.#goOnWith(await this.granted.again({ earlier: this.#earlier, waits: false }));',
        'return this.body;',
      ],
    ],
  }),
  ...planted('src/edge/money/budget/budget.ts', 'test/simulation/tries.test.ts', {
    'accounts: max_usd forgets the earlier tries': [['most, settled: earlier, held: 0', 'most, settled: 0, held: 0']],
  }),
  ...planted('src/edge/money/admission/ask-for-model.ts', 'test/edge/claude/failover.test.ts', {
    'accounts: a later try waits in the line': [['later?.waits === false || ', '']],
  }),
  ...planted('src/edge/rooms/choice/choose-model.ts', 'test/edge/rooms/choice/choose-model.test.ts', {
    'agents: one dear question is enough for a dearer model': [
      ['isDearer(agreed, model, models) ? { model: agreed,', 'isDearer(meant, model, models) ? { model: meant,'],
    ],
  }),
  ...planted('src/edge/kit/async/shared-call.ts', 'test/edge/kit/async/shared-call.test.ts', {
    'async: a failed call takes those who wait with it': [
      ['this.#current.then(begin, begin)', 'this.#current.then(begin)'],
    ],
  }),
  ...planted('src/edge/kit/async/in-steps.ts', 'test/edge/kit/async/in-steps.test.ts', {
    'async: work is not paced': [
      [
        'if (this.#units <= UNITS_IN_A_STRETCH && this.#bytes <= BYTES_IN_A_STRETCH) return undefined;',
        'if (bytes >= 0) return undefined;',
      ],
    ],
  }),
  ...planted('src/edge/claude/carry/tee-reader.ts', 'test/edge/claude/carry/tee-reader.test.ts', {
    'upstream: who reads a stream late takes all of it in one stretch': [
      ['    else await pacer.before(TEE_PIECE_BYTES);\n', ''],
    ],
  }),
  ...planted('src/edge/talk/storage/log-text.ts', 'test/edge/talk/turn/event-log.test.ts', {
    'conversations: a row of a log is shown in one piece': [
      ['    if (shown.length > most) return { text: shown, next: event };\n', ''],
    ],
  }),
  ...planted('src/edge/kit/async/in-steps.ts', 'test/edge/kit/async/in-steps.test.ts', {
    'async: bytes are not counted': [[' && this.#bytes <= BYTES_IN_A_STRETCH', '']],
    'async: all who wait come at once': [['at + TURN_MS + (bytes', 'at + (bytes']],
    'async: a clock that was set back keeps everybody out': [[' || freeAt > now + LONGEST_QUEUE_MS', '']],
  }),
  ...planted('src/edge/gate/auth/group-claim.ts', 'test/edge/gate/auth/group-claim.test.ts', {
    'auth: a group that a provider left out means that nobody pays': [
      ["  if (isLeftOut(claims, name)) throw unreadable(name, 'is not in the token itself');\n", ''],
    ],
  }),
  ...planted('src/edge/gate/auth/only-claim.ts', 'test/edge/gate/auth/only-claim.test.ts', {
    'auth: a token that should be bound is free': [
      ["  if (!otherwise) throw unboundable(name, 'is absent, and JWT_ONLY does not say what counts then');\n", ''],
    ],
  }),
  ...planted('src/edge/rooms/visitors/visitor-brake.ts', 'test/edge/rooms/visitors/visitor-brake.test.ts', {
    'auth: a household has 256 brakes': [['first.slice(0, 14)', 'first.slice(0, 16)']],
  }),
  ...planted('src/edge/rooms/batches/tidy-batch.ts', 'test/edge/rooms/batches/batches.route.test.ts', {
    'batches: a refused batch keeps its hold': [
      ["const isVoid = phase === 'refused' || phase === 'unsent' ||", "const isVoid = phase === 'unsent' ||"],
    ],
  }),
  ...planted('src/edge/rooms/batches/unknown-batch.ts', 'test/edge/rooms/batches/unknown-batches.test.ts', {
    'batches: a list that was not read whole gives a hold back': [
      ['isThere || (isWhole ? false : undefined)', 'isThere'],
    ],
  }),
  ...planted('src/edge/rooms/batches/batch-body.ts', 'test/edge/rooms/batches/batch-body.test.ts', {
    'batches: an escaped quote ends an item': [['        else if (byte === BACKSLASH) this.#isEscaped = true;\n', '']],
  }),
  ...planted('src/edge/money/budget/bucket.ts', 'test/edge/money/budget/bucket.test.ts', {
    'budget: a full bucket counts the time before it was used': [
      ['return Math.max(fullAt, now) + units', 'return fullAt + units'],
    ],
  }),
  ...planted('src/edge/money/budget/budget.ts', 'test/edge/money/budget/budget.test.ts', {
    'budget: one request takes all that is free': [['rules.clamp ? 2 : 1', 'rules.clamp ? 1 : 2']],
  }),
  ...planted('src/edge/money/budget/windows.ts', 'test/edge/money/budget/windows.test.ts', {
    'budget: a week begins on Sunday': [['((((day + 3) % 7) + 7) % 7)', '((((day + 4) % 7) + 7) % 7)']],
  }),
  ...planted('src/edge/money/budget/state.ts', 'test/edge/money/budget/budget.test.ts', {
    'budget: a request is paid in the window in which it ends': [
      [
        'for (const window of windowsAt(budget, hold.at, hold.group)) {',
        'for (const window of windowsAt(budget, budget.last, hold.group)) {',
      ],
    ],
  }),
  ...planted('src/edge/kit/cache/lru.ts', 'test/edge/kit/cache/lru.test.ts', {
    'cache: what is deleted still takes room': [['    this.#size -= entry.size;\n', '']],
    'cache: what is read is not kept longer': [
      ['    this.#entries.delete(key);\n    this.#entries.set(key, entry);\n', ''],
    ],
  }),
  ...planted('src/edge/rooms/evaluation/metrics.ts', 'test/edge/rooms/evaluation/metrics.test.ts', {
    'classification: precision and recall are swapped': [
      ['precision: ratio(tp, tp + fp)', 'precision: ratio(tp, tp + fn)'],
      ['recall: ratio(tp, tp + fn)', 'recall: ratio(tp, tp + fp)'],
    ],
  }),
  ...planted(
    'src/edge/named/classify/task/concurrency-limiter.ts',
    'test/edge/named/classify/task/concurrency-limiter.test.ts',
    {
      'classification: one call more than may runs at once': [
        ['if (this.#running < this.#most) this', 'if (this.#running <= this.#most) this'],
      ],
    },
  ),
  ...planted('src/edge/named/classify/task/classify.ts', 'test/edge/named/classify/classify.route.test.ts', {
    'classification: an answer by some of the votes is kept': [['choices.length === votes && isOfModel', 'isOfModel']],
  }),
  ...planted(
    'src/edge/rooms/classify-batches/begin-classification.ts',
    'test/edge/rooms/classify-batches/classifications.route.test.ts',
    {
      'classifications: equal inputs are asked about each': [['joins ? (firsts.get(input) ?? n) : n', 'n']],
    },
  ),
  ...planted('src/client/stream.ts', 'test/client/stream.test.ts', {
    'client: the last event comes again after a reconnect': [
      ['if (number <= this.#number) return;', 'if (number < this.#number) return;'],
    ],
  }),
  ...planted('src/client/run.ts', 'test/client/run.test.ts', {
    'client: a run makes a step more than it may': [
      ['      if (turn >= max_turns) return;\n', '      if (turn > max_turns) return;\n'],
    ],
  }),
  ...planted('src/client/batches.ts', 'test/client/batches.test.ts', {
    'client: results that were cut count as all': [['if (missing > 0) throw', 'if (missing < 0) throw']],
  }),
  ...planted('src/client/renewing-token.ts', 'test/client/renewing-token.test.ts', {
    'client: each request that was refused gets a token of its own': [
      ['const isOurs = this.#held === asked;', 'const isOurs = true;'],
    ],
  }),
  ...planted('src/edge/talk/history/continuation.ts', 'test/edge/talk/history/continuation.test.ts', {
    'conversations: a call is answered twice': [['    answered.add(id);\n', '']],
  }),
  ...planted('src/edge/talk/history/replayable-blocks.ts', 'test/edge/talk/history/replayable-blocks.test.ts', {
    'conversations: thinking without its signature is sent up': [
      ["      if (value.type === 'thinking' && !value.signature) return false;\n", ''],
    ],
  }),
  ...planted('src/edge/talk/history/truncate.ts', 'test/edge/talk/history/truncate.test.ts', {
    'conversations: a history is cut within a tool loop': [
      ['if (index > 0 && !turn.follows && tokens', 'if (index > 0 && tokens'],
    ],
  }),
  ...planted('src/edge/rooms/runs/limits.ts', 'test/edge/rooms/runs/limits.test.ts', {
    'conversations: a run pauses a step late': [
      ['this.#steps >= this.#limits.max_turns', 'this.#steps > this.#limits.max_turns'],
    ],
  }),
  ...planted('src/edge/talk/turn/log-blocks.ts', 'test/edge/talk/answers/hidden-answer.test.ts', {
    'conversations: what a hidden block says is shown': [['    known.isHidden ||= isHiddenBlock(block);\n', '']],
  }),
  ...planted('src/edge/talk/turn/restore-turn.ts', 'test/edge/talk/turn/restore-turn.test.ts', {
    'conversations: event numbers are given again after a crash': [['  log.skip(SKIPPED_EVENT_NUMBERS);\n', '']],
  }),
  ...planted('src/edge/talk/storage/damaged-row.ts', 'test/edge/talk/storage/damaged-row.test.ts', {
    'conversations: a checksum does not see another order': [
      ['(Math.imul(sum, 31) + text.charCodeAt(at)) | 0', '(sum + text.charCodeAt(at)) | 0'],
    ],
  }),
  ...planted('src/edge/rooms/mcp/call-mcp.ts', 'test/edge/rooms/mcp/call-mcp.test.ts', {
    'conversations: what was not kept of an answer takes room': [
      ['    room.left += used - (result?.bytes ?? 0);\n', ''],
    ],
  }),
  ...planted('src/edge/kit/delivery/deliver.ts', 'test/edge/kit/delivery/deliver.test.ts', {
    'delivery: a redirect counts as delivered': [
      ['if (status >= 200 && status < 300)', 'if (status >= 200 && status < 400)'],
    ],
  }),
  ...planted('src/edge/kit/delivery/signature.ts', 'test/edge/kit/delivery/signature.test.ts', {
    'delivery: a signature of the future holds': [['Math.abs(now / 1_000 - seconds)', 'now / 1_000 - seconds']],
  }),
  ...planted('src/edge/kit/objects/alarm.ts', 'test/edge/kit/objects/alarm.test.ts', {
    'durable: a later need puts the alarm off': [
      ['if (this.#due === null || at < this.#due) this.#due = at;', 'this.#due = at;'],
    ],
  }),
  ...planted('src/edge/kit/objects/call-object.ts', 'test/edge/kit/objects/call-object.test.ts', {
    'durable: only the last call says whether one may have run': [
      ['mayHaveRun ||= !isOverloaded(thrown)', 'mayHaveRun = !isOverloaded(thrown)'],
    ],
  }),
  ...planted('src/edge/rooms/files/files.route.ts', 'test/edge/rooms/files/files.route.test.ts', {
    'files: a file that is gone stays in the account': [
      ['if (isDeleted || response.status === 404) await', 'if (isDeleted) await'],
    ],
  }),
  ...planted('src/edge/kit/http/body-room.ts', 'test/edge/kit/http/body-room.test.ts', {
    'http: a caller who has left still counts': [
      ['    this.#bytes = undefined;\n    this.#uncount();\n', '    this.#bytes = undefined;\n'],
    ],
  }),
  ...planted('src/edge/kit/http/body-shape.ts', 'test/edge/kit/http/body-shape.test.ts', {
    'http: two backslashes escape a quote': [['return escapes % 2 === 1;', 'return escapes > 0;']],
  }),
  ...planted('src/edge/kit/http/secrets.ts', 'test/edge/kit/http/secrets.test.ts', {
    'http: a secret that is the beginning of another leaves its end': [
      ['(left, right) => right.length - left.length', '(left, right) => left.length - right.length'],
    ],
  }),
  ...planted('src/edge/kit/http/headers/hosts.ts', 'test/edge/kit/http/headers/hosts.test.ts', {
    'http: the last private network is public': [['b >= 16 && b < 32', 'b >= 16 && b < 31']],
  }),
  ...planted('src/edge/gate/identity/tags.ts', 'test/edge/gate/identity/tags.test.ts', {
    'identity: a tag is named twice': [['names.size === pairs.length && pairs.length', 'pairs.length']],
  }),
  ...planted('src/edge/kit/json/edit.ts', 'test/edge/kit/json/edit.test.ts', {
    'json: of a repeated key the first one stays, too': [[' && last.get(member.key) === index);', ');']],
  }),
  ...planted('src/edge/kit/kv/kept-answers.ts', 'test/edge/kit/kv/kept-answers.test.ts', {
    'kv: answers of another account are forgotten, too': [
      ['name.length === prefix.length + HASH_CHARACTERS', 'name.startsWith(prefix)'],
    ],
  }),
  ...planted('src/edge/talk/messages/stateless-message.ts', 'test/edge/talk/messages/stateless-message.test.ts', {
    'messages: what an answer of an agent may cost has no limit': [
      ['most: mostOf(memberTexts(laid)) }', 'most: undefined }'],
    ],
  }),
  ...planted('src/edge/rooms/pools/spent-families.ts', 'test/edge/rooms/operator/metrics.route.test.ts', {
    'metrics: an unknown name becomes a label': [['(known(key) ?? OTHER_LABEL)', '(known(key) ?? key)']],
  }),
  ...planted('src/page/ui/sanitize.ts', 'test/page/ui/sanitize.test.ts', {
    'page: links to javascript: are let through': [['/^(?:(?:https?|mailto):|#note-)/i', '/^(?:[a-z]+:|#note-)/i']],
  }),
  ...planted('src/page/budget/limits-form.tsx', 'test/page/budget/limits.test.ts', {
    'page: an emptied limit of an account becomes $0': [
      ["return [name, value === '' ? null : Number(value)];", 'return [name, Number(value)];'],
    ],
  }),
  ...planted('src/page/budget/limit-cell.tsx', 'test/page/budget/limits.test.ts', {
    'page: an emptied limit in a row becomes $0': [
      ["const usd = text.trim() === '' ? null : Number(text);", 'const usd = Number(text);'],
    ],
  }),
  ...planted('src/page/chat/session/session.ts', 'test/page/chat/composer/composer.test.ts', {
    'page: Stop only stops listening': [
      [
        'await this.live.value?.stream.stop().catch((thrown: unknown) => this.fail(thrown));',
        'this.live.value?.stream.close();',
      ],
    ],
  }),
  ...planted('src/page/chat/composer/composer.tsx', 'test/page/chat/composer/composer.test.ts', {
    'page: Stop of the page does nothing': [['title="Stop" onClick={() => void current?.stop()}', 'title="Stop"']],
  }),
  ...planted('src/page/budget/figures/days.ts', 'test/page/budget/figures/days.test.ts', {
    'page: the last of the chosen days is left out': [['to: dayAfter(ownDays.value.last)', 'to: ownDays.value.last']],
  }),
  ...planted('src/edge/rooms/pools/spenders.ts', 'test/edge/rooms/pools/spenders.test.ts', {
    'pools: the next page begins with the row that was last': [['< (isInclusive ? 1 : 0)', '< 0']],
  }),
  ...planted('src/edge/named/prefixes/break-even.ts', 'test/edge/named/prefixes/break-even.test.ts', {
    'prefixes: where the costs are equal, a prefix pays': [
      ['Math.floor((write - read) / (cold - read)) + 1', 'Math.ceil((write - read) / (cold - read))'],
    ],
  }),
  ...planted('src/edge/claude/pricing/worst-case.ts', 'test/edge/claude/pricing/worst-case.test.ts', {
    'pricing: an estimate of searches forgets what those before have added': [
      ['(added * grown * (grown - 1)) / 2', 'added * (grown - 1)'],
    ],
  }),
  ...planted('src/edge/claude/pricing/cost.ts', 'test/edge/claude/pricing/cost.test.ts', {
    'pricing: a prompt of just the limit is a long one': [
      ['promptTokens(usage) > long.above_tokens', 'promptTokens(usage) >= long.above_tokens'],
    ],
    'pricing: cache writes that nobody told of are the cheaper ones': [
      ["return cacheTtl === '1h'\n", "return cacheTtl === '5m'\n"],
    ],
  }),
  ...planted('src/edge/claude/pricing/usage-sums.ts', 'test/edge/claude/pricing/usage-sums.test.ts', {
    'pricing: a request counts once more for each of its tags': [
      ['hasSeveral ? groups.filter(({ value }) => value === ANY_VALUE) : groups', 'groups'],
    ],
  }),
  ...planted('src/edge/claude/pricing/takes.ts', 'test/edge/claude/pricing/takes.test.ts', {
    'pricing: a model begins to think where there is no room for it': [
      ['[thinks && comesIn && most < room,', '[thinks && comesIn && most < 0,'],
    ],
  }),
  ...planted('src/edge/money/admission/ask-for-model.ts', 'test/edge/claude/failover.test.ts', {
    'pricing: a model steps in that refuses the request': [
      ['if (model !== present && !refused)', 'if (model !== present)'],
    ],
  }),
  ...planted('src/edge/rooms/visitors/visitor-settings.ts', 'test/edge/rooms/visitors/visitor-settings.test.ts', {
    'settings: a test secret of Turnstile lets everybody in': [
      ['if (secret !== undefined && isTurnstileTest(secret))', 'if (secret === undefined)'],
    ],
  }),
  ...planted('src/simulator/faults.ts', 'test/simulator/faults.test.ts', {
    'simulator: a fault comes once more than asked': [['seen < faults.times', 'seen <= faults.times']],
  }),
  ...planted('src/simulator/prompt/prompt-cache.ts', 'test/simulator/prompt/prompt-cache.test.ts', {
    'simulator: a breakpoint looks back a block too far': [
      ['at > Math.max(hit, index - LOOKBACK)', 'at > Math.max(hit, index - LOOKBACK - 1)'],
    ],
  }),
  ...planted('src/simulator/batches/batches-api.ts', 'test/simulator/batches/batches-api.test.ts', {
    'simulator: a batch that has ended can be canceled': [
      ['if (now >= endOf(batch)) throw', 'if (now < batch.createdAt) throw'],
    ],
  }),
  ...planted('src/simulator/answer/answer-blocks.ts', 'test/simulator/api-rules.test.ts', {
    'simulator: thinking is on top of max_tokens': [
      ['if (tokens <= 0) return;\n    this.outputTokens += tokens;', 'if (tokens <= 0) return;'],
    ],
  }),
  ...planted('src/simulator/answer/thinking-amount.ts', 'test/simulator/api-rules.test.ts', {
    'simulator: a model that always thinks leaves it out': [[" && model.thinking?.default !== 'always'", '']],
  }),
  ...planted('src/simulator/request/message-params.ts', 'test/simulator/api-rules.test.ts', {
    'simulator: no model thinks without being asked': [
      ["(model.thinking?.default ?? 'off') === 'off'", "(model.thinking?.default ?? 'off') !== 'always'"],
    ],
  }),
  ...planted('src/simulator/request/model-rules.ts', 'test/simulator/api-rules.test.ts', {
    'simulator: thinking is off at any effort': [['off_efforts.includes(effort)', 'off_efforts.length > 0']],
    'simulator: an answer is continued where thinking is off': [
      ["if (lacks(model, 'prefill')) {", "if (lacks(model, 'prefill') && thinking.type !== 'disabled') {"],
    ],
    'simulator: a low temperature is taken by all': [
      ['temperature !== undefined && temperature !== 1,', 'temperature !== undefined && temperature > 1,'],
    ],
    'simulator: fast mode has no end': [['Date.parse(fast_until) <= now', 'Date.parse(fast_until) <= 0']],
  }),
  ...planted('src/simulator/request/tool-definitions.ts', 'test/simulator/api-rules.test.ts', {
    'simulator: a forced tool is taken by all': [
      ['isForced && model.forced_tools === false', 'isForced && model.forced_tools === undefined'],
    ],
  }),
  ...planted('src/edge/claude/request/refused-schemas.ts', 'test/edge/claude/request/refused-schemas.test.ts', {
    'schemas: bounds of numbers are taken': [["const OF_NUMBERS = ['minimum', 'maximum', ", 'const OF_NUMBERS = [']],
    'schemas: an object may be open': [['&& additionalProperties !== false', '&& additionalProperties === true']],
    'schemas: a reference may lead back': [['if (open.has(schema)) return', 'if (done.has(schema)) return']],
    'schemas: each tool counts its optional members alone': [
      ["sum('optional') > MOST_OPTIONAL &&", 'strict.some(({ optional }) => optional > MOST_OPTIONAL + 1) &&'],
    ],
    'schemas: a union at the top is refused of strict tools alone': [
      ['if (UNIONS.some(', 'if (tool.strict === true && UNIONS.some('],
    ],
    'schemas: what the SDK makes of a union is refused': [
      ['anyOf !== undefined && type !== undefined', 'anyOf !== undefined'],
    ],
  }),
  ...planted('src/simulator/request/betas.ts', 'test/simulator/api-rules.test.ts', {
    'simulator: any name is a beta': [['!BETA_NAMES.includes(name) && !isNewer(name)', "name === ''"]],
    'simulator: what belongs to a newer beta is refused': [['return betas.some(isNewer);', 'return false;']],
  }),
  ...planted('src/simulator/request/known-members.ts', 'test/simulator/api-rules.test.ts', {
    'simulator: a member needs no beta': [
      ['betas.length === 0 || betas.some((name) => hasBeta(asked, name))', 'betas.length >= 0 || hasBeta(asked, "")'],
    ],
  }),
  ...planted('src/simulator/request/model-rules.ts', 'test/simulator/request/message-params.test.ts', {
    'simulator: some documents are cited, and others not': [['cited.length === documents.length', 'cited.length > 0']],
  }),
  ...planted('src/simulator/prompt/prompt-cache.ts', 'test/simulator/api-rules.test.ts', {
    'simulator: the last block lives as long as the whole prompt': [
      ['(last.breakpoint ?? automatic) !== automatic', 'last.breakpoint === undefined && last.breakpoints > 4'],
    ],
  }),
  ...planted('src/simulator/random/signatures.ts', 'test/simulator/api-rules.test.ts', {
    'simulator: thinking is left out in the middle': [
      ['prefixes.includes(seal.prefix) && !isGap', 'prefixes.includes(seal.prefix)'],
    ],
    'simulator: any account reads what was thought': [
      ["seal.account !== '' && seal.account !== here.account", "seal.account !== '' && here.account === ''"],
    ],
  }),
  ...planted('src/edge/kit/sse/endings.ts', 'test/edge/kit/sse/endings.test.ts', {
    'sse: a cut does not complete an event whose data is complete': [
      ['  if (completed !== undefined) return completed + errorEvent;\n', ''],
    ],
  }),
  ...planted('src/edge/kit/sse/endings.ts', 'test/edge/kit/sse/typed-ends.test.ts', {
    'sse: data that is not finished becomes part of the error': [["? 'event: ping\\n\\n' : ''", "? '' : ''"]],
  }),
  ...planted('src/edge/kit/sse/lines.ts', 'test/edge/kit/sse/lines.test.ts', {
    'sse: a line end of two characters is two': [
      ['isCarriage && bytes[end + 1] === LINE_FEED ? end + 2 : end + 1', 'end + 1'],
    ],
  }),
  ...planted('src/edge/kit/sse/frames.ts', 'test/edge/kit/sse/frames.test.ts', {
    'sse: an event that a piece ends with the second line feed alone is late': [
      [" || (text.startsWith('\\n') && this.#parts.at(-1)?.endsWith('\\n'))", ''],
    ],
  }),
  ...planted('src/edge/rooms/runs/tools/worker-tools.ts', 'test/edge/toolkit/own-tools.test.ts', {
    'toolkit: a second tool of the same name takes the place of the first': [
      ['if (before && before !== tool) {', 'if (before === tool) {'],
    ],
  }),
  ...planted('src/edge/claude/usage/told-usage.ts', 'test/edge/claude/usage/told-usage.test.ts', {
    'the last count wins: of the prompt, wherever it is read': [
      ['promptTokens(usage) < promptTokens(earlier)', 'promptTokens(usage) < 0'],
    ],
    'the last count wins: of what only grows, wherever it is read': [
      ['return Math.max(earlier, wholeCount(later));', 'return wholeCount(later);'],
    ],
    'the last count wins: behind a model that stepped in, of the one before': [
      ['    this.#isOther = true;\n', '    this.#isOther = false;\n'],
    ],
    'the last count wins: a prompt of 0 is final': [
      ['return tellsPrompt(usage) ||', 'return !tellsPrompt(usage) || tellsPrompt(usage) ||'],
    ],
  }),
  ...planted('src/edge/claude/usage/usage-reader.ts', 'test/edge/claude/usage/told-usage.test.ts', {
    'the last count wins: in a stream': [
      [
        "this.#report.usage = this.#told.take(memberOf(value, 'usage'), true);",
        "this.#told.take(memberOf(value, 'usage'), true);\n      Object.assign(this.#report.usage ?? {}, memberOf(value, 'usage'));",
      ],
    ],
    'the last count wins: in a stream that is read by its ends': [
      [
        'if (text.indexOf(DELTA_EVENT) !== text.lastIndexOf(DELTA_EVENT)) return false;',
        "if (text === '') return false;",
      ],
    ],
  }),
  ...planted('src/edge/claude/whole-message.ts', 'test/edge/claude/usage/told-usage.test.ts', {
    'the last count wins: in an answer that rides': [
      ['told.filter(holds)', 'told.filter((one) => holds(one) || true)'],
    ],
  }),
  ...planted('src/edge/talk/turn/message-builder.ts', 'test/edge/claude/usage/told-usage.test.ts', {
    'the last count wins: in a turn': [
      [
        '...this.told.take(usage, true) };',
        '...this.told.take(usage, true), ...usage };\n    this.told.usage = message.usage as Usage;',
      ],
    ],
  }),
  ...planted('src/edge/rooms/batches/read-results.ts', 'test/edge/claude/usage/told-usage.test.ts', {
    'the last count wins: in the result of a batch': [
      [
        'const { usage, model = row.model } = report;',
        'const { model = row.model } = report;\n    const usage = isObject(message.usage) ? message.usage : undefined;\n    report.usage = { input_tokens: 1, output_tokens: 0 };',
      ],
    ],
  }),
  ...planted('src/edge/rooms/classify-batches/label-results.ts', 'test/edge/claude/usage/told-usage.test.ts', {
    'the last count wins: in a vote of a batch': [
      ['const { usage } = reportOf(message, 0);', 'const usage = message?.usage as Usage | undefined;'],
    ],
  }),
  ...planted('src/edge/rooms/mcp/stored-servers.ts', 'test/edge/rooms/mcp/stored-servers.test.ts', {
    'tools: a tool that must run once is called again': [['run.once ?? !isRepeatable', 'run.once ?? isRepeatable']],
  }),
  ...planted('src/edge/claude/upstreams/breaker.ts', 'test/edge/claude/upstreams/breaker.test.ts', {
    'upstream: half of the tries may fail': [['failed * 2 >= tries', 'failed >= tries']],
  }),
  ...planted('src/edge/claude/upstreams/order.ts', 'test/edge/claude/upstreams/order.test.ts', {
    'upstream: of those that rest the last one is asked first': [
      ['left.dueAt - right.dueAt', 'right.dueAt - left.dueAt'],
    ],
  }),
  ...planted('src/edge/claude/carry/error-mask.ts', 'test/edge/claude/carry/error-mask.test.ts', {
    'upstream: an error that is cut shows the beginning of a secret': [
      ['return withoutBegunSecret(masked(text));', 'return masked(text);'],
    ],
  }),
  ...planted('src/edge/rooms/clouds/google-tokens.ts', 'test/edge/rooms/clouds/google-tokens.test.ts', {
    'upstream: a token of Google lives for milliseconds': [['data.expires_in * 1_000', 'data.expires_in']],
  }),
  ...planted('src/edge/named/versions/kv-copies.ts', 'test/edge/named/versions/withdrawn.test.ts', {
    'versions: a withdrawn version is used': [
      [
        "if (known.hash === '' || known.withdrawn.includes(hash)) return false;",
        "if (known.hash === '') return false;",
      ],
    ],
  }),
  ...planted('src/edge/named/versions/kv-copies.ts', 'test/edge/named/versions/kv-copies.test.ts', {
    'versions: a pointer is believed for ever': [['believed && believed.until > this.now() ?', 'believed ?']],
  }),
  ...planted('src/edge/rooms/webhooks/webhook-job.ts', 'test/edge/rooms/webhooks/webhook-job.test.ts', {
    'webhooks: a text that gets no label is tried for ever': [
      ["reason === 'input' || (reason === 'answer' && failures > 0)", "reason === 'input'"],
    ],
  }),
  ...planted('src/edge/rooms/webhooks/webhook-job.ts', 'test/edge/money/admission/what-limited.test.ts', {
    'webhooks: what the pools hold for others is a failure': [
      ["isOwn && passes !== 'never'", "isOwn && passes === 'later'"],
    ],
  }),
  ...planted('src/edge/rooms/webhooks/inbox/inbox.ts', 'test/edge/rooms/webhooks/webhook-job.test.ts', {
    'webhooks: a failed delivery does not count': [
      ['failures: event.failures + 1, dueAt', 'failures: event.failures, dueAt'],
    ],
  }),
];
