/** Mistakes about money, history, isolation and streams, each with the tests that must find it: `npm run planted` tries all. */

export interface Mistake {
  /** What it is about, and what is wrong then. */
  name: string;
  file: string;
  /** What stands there, once, and what is put in its place. */
  edits: readonly (readonly [right: string, wrong: string])[];
  /** The file of tests that finds it. The cheapest one: in Node before workerd, a browser last. */
  foundBy: string;
}

/** @returns a source with a mistake in it. @throws Error if a place of the mistake is not there, or more than once */
export function withMistake({ name, file, edits }: Mistake, source: string): string {
  return edits.reduce((text, [right, wrong]) => {
    if (text.split(right).length !== 2) throw new Error(`${name}: this does not stand once in ${file}: ${right}`);
    return text.replace(right, () => wrong);
  }, source);
}

export const MISTAKES: readonly Mistake[] = [
  {
    name: 'money: what is held counts as free in a lease',
    file: 'src/edge/plugins/pools/leases/lease.ts',
    edits: [['return granted - settled - held;', 'return granted - settled;']],
    foundBy: 'test/edge/plugins/pools/leases/lease.test.ts',
  },
  {
    name: 'money: thinking that nobody saw is not paid',
    file: 'src/edge/money/admission/interrupted-cost.ts',
    edits: [['Math.max(seen.thinking, unseen)', 'Math.min(seen.thinking, unseen)']],
    foundBy: 'test/edge/money/admission/interrupted-cost.test.ts',
  },
  {
    name: 'money: a later try has no hold',
    file: 'src/edge/money/admission/billed-request.ts',
    edits: [['return await this.#reserveLaterAttempt(false);', 'return this.createBody;']],
    foundBy: 'test/simulation/tries.test.ts',
  },
  {
    name: 'money: max_usd forgets the earlier tries',
    file: 'src/edge/money/budget/hold-request.ts',
    edits: [['costLimit, settled: earlier, held: 0', 'costLimit, settled: 0, held: 0']],
    foundBy: 'test/simulation/tries.test.ts',
  },
  {
    name: 'money: a household may make visitors 256 times as fast',
    file: 'src/edge/plugins/visitors/limit-new-visitors.ts',
    edits: [['first.slice(0, 14)', 'first.slice(0, 16)']],
    foundBy: 'test/edge/plugins/visitors/limit-new-visitors.test.ts',
  },
  {
    name: 'money: the hold of a batch that was never made stays for ever',
    file: 'src/edge/plugins/batches/unknown-batch.ts',
    edits: [["['release', 'report']", "['report']"]],
    foundBy: 'test/edge/plugins/batches/unknown-batches.test.ts',
  },
  {
    name: 'a cancellation that was asked for before the batch ran is never told',
    file: 'src/edge/plugins/batches/batch-record.ts',
    edits: [["isCancelOwed ? [...owed, 'cancel'] : owed", 'owed']],
    foundBy: 'test/edge/plugins/batches/unknown-batches.test.ts',
  },
  {
    name: 'a list of all accounts ends before the account that has the newest',
    file: 'src/edge/money/account/list-requests-of-all.ts',
    edits: [['oldest > (some[0]?.at ?? 0) + MAX_ID_CLOCK_SKEW_MS', 'oldest > 0']],
    foundBy: 'test/edge/money/account/list-requests-of-all.test.ts',
  },
  {
    name: 'money: a list that was not read whole gives the hold of a batch back',
    file: 'src/edge/plugins/batches/unknown-batch.ts',
    edits: [['isThere || (isWhole ? false : undefined)', 'isThere']],
    foundBy: 'test/edge/plugins/batches/unknown-batches.test.ts',
  },
  {
    name: 'money: a full bucket counts the time before it was used',
    file: 'src/edge/money/budget/bucket.ts',
    edits: [['return Math.max(fullAt, now) + units', 'return fullAt + units']],
    foundBy: 'test/edge/money/budget/bucket.test.ts',
  },
  {
    name: 'money: a request is paid in the window in which it ends',
    file: 'src/edge/money/budget/state.ts',
    edits: [
      [
        'for (const window of findWindowsAt(budget, hold.at, hold.group)) {',
        'for (const window of findWindowsAt(budget, budget.last, hold.group)) {',
      ],
    ],
    foundBy: 'test/edge/money/budget/budget.test.ts',
  },
  {
    name: 'money: what an answer of an agent may cost has no limit',
    file: 'src/edge/messages/stateless-message.ts',
    edits: [['costLimit: readMaxCost(parseMemberTexts(complete)) }', 'costLimit: undefined }']],
    foundBy: 'test/edge/messages/stateless-message.test.ts',
  },
  {
    name: 'money: an emptied limit of an account becomes $0',
    file: 'src/page/budget/limits-form.tsx',
    edits: [["test(text) && !(kind === 'names' && isEmptyList))", "test(text) && kind === 'names' && !isEmptyList)"]],
    foundBy: 'test/page/budget/limits.test.ts',
  },
  {
    name: 'money: an estimate of searches forgets what those before have added',
    file: 'src/edge/claude/pricing/maximum-cost.ts',
    edits: [['(added * grown * (grown - 1)) / 2', 'added * (grown - 1)']],
    foundBy: 'test/edge/claude/pricing/maximum-cost.test.ts',
  },
  {
    name: 'money: cache writes that nobody told of are the cheaper ones',
    file: 'src/edge/claude/pricing/cost.ts',
    edits: [["return cacheTtl === '1h'\n", "return cacheTtl === '5m'\n"]],
    foundBy: 'test/edge/claude/pricing/cost.test.ts',
  },
  {
    name: 'money: a request counts once more for each of its tags',
    file: 'src/edge/claude/pricing/usage-sums.ts',
    edits: [['hasSeveral ? groups.filter(({ value }) => value === ANY_VALUE) : groups', 'groups']],
    foundBy: 'test/edge/claude/pricing/usage-sums.test.ts',
  },
  {
    name: 'money: a count of the prompt that comes last and says less wins',
    file: 'src/edge/claude/usage/reported-usage.ts',
    edits: [['countPromptTokens(usage) < countPromptTokens(earlier)', 'countPromptTokens(usage) < 0']],
    foundBy: 'test/edge/claude/usage/reported-usage.test.ts',
  },
  {
    name: 'money: a count of the answer that comes last and says less wins',
    file: 'src/edge/claude/usage/reported-usage.ts',
    edits: [['return Math.max(earlier, toValidCountOrZero(later));', 'return toValidCountOrZero(later);']],
    foundBy: 'test/edge/claude/usage/reported-usage.test.ts',
  },
  {
    name: 'money: a hold is settled twice',
    file: 'src/edge/money/budget/state.ts',
    edits: [['if (!budget.holds.delete(hold.id)) return;', 'if (!budget.holds.has(hold.id)) return;']],
    foundBy: 'test/simulation/account.test.ts',
  },
  {
    name: 'money: nothing wakes for a hold',
    file: 'src/edge/money/account/try-admission.ts',
    edits: [['  state.alarm.scheduleAt(deadline);\n', '']],
    foundBy: 'test/simulation/account.test.ts',
  },
  {
    name: 'money: nobody sends a settlement again whose call was lost',
    file: 'src/edge/money/contracts/call-account.ts',
    edits: [
      ["account.settleJson(settlement), 'persistent')", 'account.settleJson(settlement).catch(() => settlement))'],
    ],
    foundBy: 'test/simulation/settling.test.ts',
  },
  {
    name: 'money: a request that comes overtakes those who wait',
    file: 'src/edge/money/account/decide-admission.ts',
    edits: [['const ahead = wantsToWait(request)\n', 'const ahead = wantsToWait(request) && !canWait\n']],
    foundBy: 'test/simulation/account.test.ts',
  },
  {
    name: 'money: a lease is used before its pool has written it',
    file: 'src/edge/plugins/pools/leases/lease.ts',
    edits: [['if (!this.#isUsable(now)) return false;', 'if (!this.#isUsable(now)) return this.#seq > 1;']],
    foundBy: 'test/simulation/pool.test.ts',
  },
  {
    name: 'history: a call is answered twice',
    file: 'src/edge/conversations/history/continuation.ts',
    edits: [['    answered.add(id);\n', '']],
    foundBy: 'test/edge/conversations/history/continuation.test.ts',
  },
  {
    name: 'history: thinking without its signature is sent up',
    file: 'src/edge/conversations/history/replayable-blocks.ts',
    edits: [["      if (value.type === 'thinking' && !value.signature) return false;\n", '']],
    foundBy: 'test/edge/conversations/history/replayable-blocks.test.ts',
  },
  {
    name: 'history: it is cut within a tool loop',
    file: 'src/edge/conversations/history/truncate.ts',
    edits: [['if (index > 0 && !turn.follows && tokens', 'if (index > 0 && tokens']],
    foundBy: 'test/edge/conversations/history/truncate.test.ts',
  },
  {
    name: 'history: event numbers are given again after a crash',
    file: 'src/edge/conversations/turn/restore-turn.ts',
    edits: [['  log.skip(SKIPPED_EVENT_NUMBERS);\n', '']],
    foundBy: 'test/edge/conversations/turn/restore-turn.test.ts',
  },
  {
    name: 'history: a withdrawn version is used',
    file: 'src/edge/money/versions/kv-copies.ts',
    edits: [
      [
        "if (pointer.hash === '' || pointer.withdrawn.includes(hash)) return false;",
        "if (pointer.hash === '') return false;",
      ],
    ],
    foundBy: 'test/edge/registry/versions/withdrawn.test.ts',
  },
  {
    name: 'history: a conversation has no lock',
    file: 'src/edge/conversations/object/answer-turn.ts',
    edits: [
      ["if (running) throw createTurnRunningError(transcript.storedProfile?.id ?? '', running.turn.row.id);", ''],
    ],
    foundBy: 'test/simulation/conversation.test.ts',
  },
  {
    name: 'history: nothing watches over a turn',
    file: 'src/edge/conversations/object/begin-turn.ts',
    edits: [['  conversation.alarm.scheduleWatchAt(now + WATCH_MS);\n', '']],
    foundBy: 'test/simulation/conversation.test.ts',
  },
  {
    name: 'history: rows go after their alarm',
    file: 'src/edge/durable/edge-object.ts',
    edits: [
      ['const deletions = [ctx.storage.deleteAlarm(), ctx.storage.deleteAll()];', ''],
      ['await Promise.all(deletions);', 'await ctx.storage.deleteAlarm();\n        await ctx.storage.deleteAll();'],
    ],
    foundBy: 'test/simulation/conversation.test.ts',
  },
  {
    name: 'history: a decision replaces another',
    file: 'src/edge/plugins/runs/approvals/decide.ts',
    edits: [['if (row.decision !== null) {', 'if (row.decision !== null && row.continuedBy !== null) {']],
    foundBy: 'test/simulation/approvals.test.ts',
  },
  {
    name: 'history: a call is made that was denied',
    file: 'src/edge/plugins/runs/approvals/pending-calls.ts',
    edits: [["if (approval.decision === 'approve') calls", 'if (approval.id) calls']],
    foundBy: 'test/simulation/approvals.test.ts',
  },
  {
    name: 'isolation: a token that should be restricted is free',
    file: 'src/edge/auth/only-claim.ts',
    edits: [
      [
        "  if (!otherwise) throw createRestrictionClaimError(name, 'is absent, and JWT_ONLY is not set for this case');\n",
        '',
      ],
    ],
    foundBy: 'test/edge/auth/only-claim.test.ts',
  },
  {
    name: 'isolation: a secret that is the beginning of another leaves its end',
    file: 'src/edge/kit/http/secrets.ts',
    edits: [['(left, right) => right.length - left.length', '(left, right) => left.length - right.length']],
    foundBy: 'test/edge/kit/http/secrets.test.ts',
  },
  {
    name: 'isolation: a tool may call the last private network',
    file: 'src/edge/kit/http/headers/hosts.ts',
    edits: [['b >= 16 && b < 32', 'b >= 16 && b < 31']],
    foundBy: 'test/edge/kit/http/headers/hosts.test.ts',
  },
  {
    name: 'isolation: a signature of the future holds',
    file: 'src/edge/kit/delivery/signature.ts',
    edits: [['Math.abs(now / 1_000 - seconds)', 'now / 1_000 - seconds']],
    foundBy: 'test/edge/kit/delivery/signature.test.ts',
  },
  {
    name: 'isolation: answers of another account are forgotten, too',
    file: 'src/edge/kit/kv/cached-answers.ts',
    edits: [['name.length === prefix.length + HASH_CHARACTERS', 'name.startsWith(prefix)']],
    foundBy: 'test/edge/kit/kv/cached-answers.test.ts',
  },
  {
    name: 'isolation: links to javascript: are let through',
    file: 'src/page/ui/sanitize.ts',
    edits: [['/^(?:(?:https?|mailto):|#note-)/i', '/^(?:[a-z]+:|#note-)/i']],
    foundBy: 'test/page/ui/sanitize.test.ts',
  },
  {
    name: 'isolation: a test secret of Turnstile lets everybody in',
    file: 'src/edge/plugins/visitors/visitor-settings.ts',
    edits: [['if (secret !== undefined && isTurnstileTestSecret(secret))', 'if (secret === undefined)']],
    foundBy: 'test/edge/plugins/visitors/visitor-settings.test.ts',
  },
  {
    name: 'isolation: an error that is cut shows the beginning of a secret',
    file: 'src/edge/claude/relay/error-mask.ts',
    edits: [['return trimPartialSecretAtEnd(maskSecrets(text));', 'return maskSecrets(text);']],
    foundBy: 'test/edge/claude/relay/error-mask.test.ts',
  },
  {
    name: 'streams: the last event comes again after a reconnect',
    file: 'src/client/stream.ts',
    edits: [['if (number <= this.#lastEventNumber) return;', 'if (number < this.#lastEventNumber) return;']],
    foundBy: 'test/client/stream.test.ts',
  },
  {
    name: 'streams: a cut does not complete an event whose data is complete',
    file: 'src/edge/kit/sse/endings.ts',
    edits: [['  if (completed !== undefined) return completed + errorEvent;\n', '']],
    foundBy: 'test/edge/kit/sse/endings.test.ts',
  },
  {
    name: 'streams: data that is not finished becomes part of the error',
    file: 'src/edge/kit/sse/endings.ts',
    edits: [["? 'event: ping\\n\\n' : ''", "? '' : ''"]],
    foundBy: 'test/edge/kit/sse/typed-ends.test.ts',
  },
  {
    name: 'streams: a line end of two characters is two',
    file: 'src/edge/kit/sse/lines.ts',
    edits: [['isCarriage && bytes[end + 1] === LINE_FEED ? end + 2 : end + 1', 'end + 1']],
    foundBy: 'test/edge/kit/sse/lines.test.ts',
  },
  {
    name: 'streams: an event that a piece ends with the second line feed alone is late',
    file: 'src/edge/kit/sse/frames.ts',
    edits: [[" || (text.startsWith('\\n') && this.#parts.at(-1)?.endsWith('\\n'))", '']],
    foundBy: 'test/edge/kit/sse/frames.test.ts',
  },
  {
    name: 'schemas: bounds of numbers are taken',
    file: 'src/edge/claude/request/schema-faults.ts',
    edits: [["const NUMBER_KEYWORDS = ['minimum', 'maximum', ", 'const NUMBER_KEYWORDS = [']],
    foundBy: 'test/edge/claude/request/schema-faults.test.ts',
  },
  {
    name: 'schemas: an object may be open',
    file: 'src/edge/claude/request/schema-faults.ts',
    edits: [['&& additionalProperties !== false', '&& additionalProperties === true']],
    foundBy: 'test/edge/claude/request/schema-faults.test.ts',
  },
  {
    name: 'schemas: a reference may lead back',
    file: 'src/edge/claude/request/schema-faults.ts',
    edits: [['if (open.has(schema)) return', 'if (done.has(schema)) return']],
    foundBy: 'test/edge/claude/request/schema-faults.test.ts',
  },
  {
    name: 'schemas: each tool counts its optional members alone',
    file: 'src/edge/claude/request/schema-faults.ts',
    edits: [
      [
        "sumOfFindings('optional') > MAX_OPTIONAL_PROPERTIES &&",
        'strict.some(({ optional }) => optional > MAX_OPTIONAL_PROPERTIES + 1) &&',
      ],
    ],
    foundBy: 'test/edge/claude/request/schema-faults.test.ts',
  },
  {
    name: 'schemas: a union at the top is refused of strict tools alone',
    file: 'src/edge/claude/request/schema-faults.ts',
    edits: [['if (UNION_KEYWORDS.some(', 'if (tool.strict === true && UNION_KEYWORDS.some(']],
    foundBy: 'test/edge/claude/request/schema-faults.test.ts',
  },
  {
    name: 'schemas: what the SDK makes of a union is refused',
    file: 'src/edge/claude/request/schema-faults.ts',
    edits: [['anyOf !== undefined && type !== undefined', 'anyOf !== undefined']],
    foundBy: 'test/edge/claude/request/schema-faults.test.ts',
  },
  {
    name: 'simulator: any name is a beta',
    file: 'src/api-rules/betas.ts',
    edits: [['!BETA_NAMES.includes(name) && !isNewerBeta(name)', "name === ''"]],
    foundBy: 'test/simulator/api-rules.test.ts',
  },
  {
    name: 'simulator: what belongs to a newer beta is refused',
    file: 'src/api-rules/betas.ts',
    edits: [['return betas.some(isNewerBeta);', 'return false;']],
    foundBy: 'test/simulator/api-rules.test.ts',
  },
  {
    name: 'simulator: a member needs no beta',
    file: 'src/api-rules/betas.ts',
    edits: [['names === undefined || names.some', 'names !== null || names.some']],
    foundBy: 'test/simulator/api-rules.test.ts',
  },
  {
    name: 'simulator: some documents are cited, and others not',
    file: 'src/simulator/request/model-rules.ts',
    edits: [['cited.length === sources.length', 'cited.length > 0']],
    foundBy: 'test/simulator/request/message-params.test.ts',
  },
  {
    name: 'simulator: the last block lives as long as the whole prompt',
    file: 'src/simulator/prompt/prompt-cache.ts',
    edits: [['(last.breakpoint ?? automatic) !== automatic', 'last.breakpoint === undefined && last.breakpoints > 4']],
    foundBy: 'test/simulator/api-rules.test.ts',
  },
  {
    name: 'money: a category that is missing is none',
    file: 'src/edge/claude/usage/reported-usage.ts',
    edits: [
      [
        "UNBILLED_REFUSALS.has(getMember(details, 'category'))",
        "UNBILLED_REFUSALS.has(getMember(details, 'category') ?? null)",
      ],
    ],
    foundBy: 'test/edge/money/admission/unbilled-refusals.test.ts',
  },
  {
    name: 'money: what comes behind a block is free',
    file: 'src/edge/claude/usage/reported-usage.ts',
    edits: [[' || this.hasBlocks || this.#isHandedOver)', ')']],
    foundBy: 'test/edge/money/admission/unbilled-refusals.test.ts',
  },
  {
    name: 'money: a gateway bills as the Claude API does',
    file: 'src/edge/claude/upstreams/prices.ts',
    edits: [['return settings.ANTHROPIC_BASE_URL === CLAUDE_API;', "return settings.ANTHROPIC_BASE_URL !== '';"]],
    foundBy: 'test/edge/money/admission/unbilled-refusals.test.ts',
  },
  {
    name: 'money: a tool that a message defines is not read',
    file: 'src/edge/claude/pricing/prompt-features.ts',
    edits: [['if (isObject(tool.definition)) collectToolFeatures(tool.definition, features);', '']],
    foundBy: 'test/edge/claude/pricing/maximum-cost.test.ts',
  },
  {
    name: 'money: an item of a batch costs as much as a request',
    file: 'src/edge/claude/pricing/cost.ts',
    edits: [['options.batch ? 20 : 10', 'options.batch ? 10 : 10']],
    foundBy: 'test/edge/claude/pricing/cost.test.ts',
  },
  {
    name: 'money: what an answer in the US costs more is forgotten',
    file: 'src/edge/claude/pricing/cost.ts',
    edits: [["usage.inference_geo === 'us' ? 11 : 10", "usage.inference_geo === 'us' ? 10 : 10"]],
    foundBy: 'test/edge/claude/pricing/cost.test.ts',
  },
  {
    name: 'money: a cost that is no number is free',
    file: 'src/edge/money/ledger/settlement.ts',
    edits: [['clampToSafeAmount(settlement.cost, hold)', 'clampToSafeAmount(settlement.cost, 0)']],
    foundBy: 'test/edge/money/account/account.test.ts',
  },
  {
    name: 'money: what earlier answers have thought is not held',
    file: 'src/edge/claude/pricing/maximum-cost.ts',
    edits: [['count + margin + thought', 'count + margin']],
    foundBy: 'test/edge/money/admission/books.test.ts',
  },
  {
    name: 'money: an event that is sent again is classified again',
    file: 'src/edge/plugins/webhooks/inbox/inbox.ts',
    edits: [
      [
        "if (firstId !== undefined) return { status: 'duplicate', queue: this.#shouldQueueDuplicate(firstId, now), firstId };",
        '',
      ],
    ],
    foundBy: 'test/edge/plugins/webhooks/webhooks.route.test.ts',
  },
  {
    name: 'isolation: a scope lets everything in',
    file: 'src/edge/auth/authenticate.ts',
    edits: [["if (scopes.includes(scope) || scopes.includes('admin')) return true;", 'return scopes.length > 0;']],
    foundBy: 'test/edge/registry/prefixes/prefixes.route.test.ts',
  },
  {
    name: 'classification: a label may stand twice',
    file: 'src/edge/classify/task/classifier.ts',
    edits: [['if (repeated !== undefined)\n', 'if (repeated === null)\n']],
    foundBy: 'test/edge/classify/task/classifier.test.ts',
  },
  {
    name: 'money: a web search is free',
    file: 'src/edge/claude/pricing/cost.ts',
    edits: [
      [
        'return Math.ceil((tokens * geography) / divisor) + searches;',
        'return Math.ceil((tokens * geography) / divisor);',
      ],
    ],
    foundBy: 'test/edge/claude/pricing/cost.test.ts',
  },
  {
    name: 'money: what caching saves in a loop of tools is not counted',
    file: 'src/edge/claude/pricing/cost.ts',
    edits: [['.map((step) => ({ ...step, ...toUncached(step) }))', '']],
    foundBy: 'test/edge/claude/pricing/cost.test.ts',
  },
  {
    name: 'money: what is held does not count where a question is said to fit',
    file: 'src/edge/money/admission/budget-left.ts',
    edits: [['limit - settled - held));', 'limit - settled));']],
    foundBy: 'test/edge/money/admission/budget-left.test.ts',
  },
  {
    name: 'isolation: a trickle holds the memory of everybody',
    file: 'src/edge/kit/http/body-memory.ts',
    edits: [['if (pace < (slowest?.pace ?? 1)) slowest = { share, body, pace };', '']],
    foundBy: 'test/edge/kit/http/trickled-bodies.test.ts',
  },
  {
    name: 'isolation: everybody reads what each account has spent',
    file: 'src/edge/money/account/usage.route.ts',
    edits: [["if (!hasScope(c.get('identity'), 'admin:read')) {", "if (c.get('identity').account === '') {"]],
    foundBy: 'test/edge/money/account/usage.route.test.ts',
  },
  {
    name: 'history: a backup may bring any words as a summary',
    file: 'src/edge/plugins/summaries/copied-summaries.ts',
    edits: [['text.startsWith(SUMMARY_PREFACE)', 'text.length >= 0']],
    foundBy: 'test/edge/plugins/summaries/summaries-useless.test.ts',
  },
];
