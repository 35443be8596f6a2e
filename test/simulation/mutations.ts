/** Mistakes that the simulation must find: each is put into the source for one run. */

/** What is simulated. */
export const OBJECTS = ['conversation', 'account', 'settling', 'inbox', 'pool', 'approvals'] as const;

export interface Mutation {
  name: string;
  /** In whose simulation it is found. */
  object: (typeof OBJECTS)[number];
  file: string;
  /** What stands there, once, and what is put in its place. */
  edits: readonly (readonly [right: string, wrong: string])[];
}

/** @returns mistakes in a file, by their names, that one simulation finds */
const inFile = (
  file: string,
  object: Mutation['object'],
  mistakes: Readonly<Record<string, Mutation['edits']>>,
): Mutation[] => Object.entries(mistakes).map(([name, edits]) => ({ name, object, file, edits }));

export const MUTATIONS: readonly Mutation[] = [
  ...inFile('src/edge/talk/answers/resume-turn.ts', 'conversation', {
    'a conversation without its lock': [
      ["if (running) throw conflict(transcript.profile?.id ?? '', running.turn.row.id);", ''],
    ],
  }),
  ...inFile('src/edge/talk/conversations/erase.ts', 'conversation', {
    'an erasure that nothing wakes for': [
      [
        '  context.alarm.wakeFor(context.now() + CONFIRM_AGAIN_MS);\n  await maintenance.clear();',
        '  await maintenance.clear();',
      ],
    ],
  }),
  ...inFile('src/edge/talk/conversations/conversation-state.ts', 'conversation', {
    'a crash that nobody cleans up behind': [['if (this.#recovered) return;', 'return;']],
  }),
  ...inFile('src/edge/talk/conversations/begin-turn.ts', 'conversation', {
    'a turn that nothing watches over': [['  context.alarm.watch(now + WATCH_MS);\n', '']],
  }),
  ...inFile('src/edge/kit/objects/edge-object.ts', 'conversation', {
    'rows that go after their alarm': [
      ['const deletions = [ctx.storage.deleteAlarm(), ctx.storage.deleteAll()];', ''],
      ['await Promise.all(deletions);', 'await ctx.storage.deleteAlarm();\n        await ctx.storage.deleteAll();'],
    ],
  }),
  ...inFile('src/edge/talk/turn/restore-turn.ts', 'conversation', {
    'numbers of lost events that are given again': [['log.skip(SKIPPED_EVENT_NUMBERS);', '']],
  }),
  ...inFile('src/edge/talk/conversations/turn-settlements.ts', 'conversation', {
    'a settlement that is not repeated': [['if (now() - since < CONFIRM_MS) continue;', 'continue;']],
  }),
  ...inFile('src/edge/money/budget/state.ts', 'account', {
    'a hold that is settled twice': [
      ['if (!budget.holds.delete(hold.id)) return;', 'if (!budget.holds.has(hold.id)) return;'],
    ],
  }),
  ...inFile('src/edge/money/account/settle-hold.ts', 'account', {
    'a row that is settled twice': [
      ["if (row.status !== 'orphaned') return { outcome: 'duplicate', ...unchanged };", ''],
    ],
  }),
  ...inFile('src/edge/money/contracts/call-account.ts', 'settling', {
    'a settlement that counts as made before its account has said so': [
      ['return JSON.parse(await callAccount(', 'return JSON.parse(settlement) || JSON.parse(await callAccount('],
    ],
    'a settlement that nobody sends again whose call was lost': [
      ["account.settleJson(settlement), 'persistent')", 'account.settleJson(settlement).catch(() => settlement))'],
    ],
  }),
  ...inFile('src/edge/money/account/decide-admission.ts', 'account', {
    'a hold that nothing wakes for': [['  state.alarm.wakeFor(hold.deadline);\n', '']],
    'a request that comes overtakes those who wait': [
      ['const ahead = () => (waits ? line.ahead(', 'const ahead = () => (waits && !canWait ? line.ahead('],
    ],
  }),
  ...inFile('src/edge/named/versions/publish-versions.ts', 'account', {
    'a store that is told without an alarm': [
      ['if (this.#versions.untold) this.#around.alarm.wakeFor(this.#around.now() + TOLD_MS);', ''],
    ],
  }),
  ...inFile('src/edge/named/versions/version-rows.ts', 'account', {
    'a pointer that is written before its value': [
      ["for (const row of of('new')) {", "for (const row of [...of('new')].reverse().slice(1)) {"],
    ],
  }),
  ...inFile('src/edge/rooms/pools/pool.ts', 'pool', {
    'a call to a pool that comes late and counts': [
      ['known && !isNewer(call, known) ? known', 'known && !call ? known'],
    ],
    'a pool that nothing wakes for': [['    if (lease.open) this.around.alarm.wakeFor(this.#askAt(lease));\n', '']],
    'an erasure whose sums are handed over twice': [
      ['handover !== undefined && handover.epoch > (before?.epoch ?? 0)', 'handover !== undefined'],
    ],
    'a given up lease that a late call brings back': [
      ['windows: {}, droppedAt: now', 'windows: {}, incarnation: 0, seq: 0, droppedAt: now'],
    ],
    'a closed lease that its pool does not know again': [
      ['this.#books.open.get(call.lease) ?? this.#store.lease(call.lease)', 'this.#books.open.get(call.lease)'],
    ],
    'a pool that asks silent accounts late': [['const SILENT_MS = MINUTE_MS;', 'const SILENT_MS = 3 * MINUTE_MS;']],
    'a recount that forgets who was under way': [[' || call.owes === true || isUntold;', ' || call.owes === true;']],
  }),
  ...inFile('src/edge/rooms/pools/leases/lease.ts', 'pool', {
    'a lease that is used before its pool has written it': [
      ['if (now >= this.#usableUntil) return false;', 'if (now >= this.#usableUntil) return this.#seq > 1;'],
    ],
    'a lease that is given up while a lost call may still change it': [['    this.#told = undefined;\n', '']],
    'a lease that is used while its return is on the way, and told to nobody': [
      ['this.#isOpen = this.#keepsAny || this.#isUsed;', 'this.#isOpen = this.#keepsAny;'],
    ],
  }),
  ...inFile('src/edge/rooms/pools/leases/lease-identity.ts', 'pool', {
    'an erased account that counts again what is counted for nobody': [
      ['window.settled - (base[spanId(period, window.start)] ?? 0)', 'window.settled'],
    ],
    'a given up lease that stays where its pool could not be reached': [
      ['        () => {},\n', '        () => deleted.add(lease),\n'],
    ],
  }),
  ...inFile('src/edge/rooms/pools/used-sums.ts', 'pool', {
    'a recount that keeps what was wrong': [['if (since < 0) this.#forget(lease);', '']],
  }),
  ...inFile('src/edge/money/ledger/report-sums.ts', 'pool', {
    'sums of rows that are not folded, told to nobody': [
      ['isLast ? dimensionSums(ledger, UNFOLDED, ledger.marker) : []', '[]'],
    ],
  }),
  ...inFile('src/edge/rooms/pools/leases/leases.ts', 'pool', {
    'what is settled out of turn, told to nobody': [
      ['    for (const name of this.#identity.payersOf(group)) this.#unreported.add(name);\n', ''],
    ],
    'what is spent without a lease, told to nobody': [['      } else this.#unreported.add(name);\n', '      }\n']],
    'an account that dies before its idle return, and is not asked': [['owes: !isIdle || (', 'owes: (']],
    'an account that is erased before it has reported': [['...(left.rows.length > 0 ? [DEPLOYMENT_POOL] : [])', '']],
  }),
  ...inFile('src/edge/rooms/pools/leases/unreported-pools.ts', 'pool', {
    'a report that an account forgets when it dies': [
      [
        'if (this.#isWoken) for (const name of this.#afterWake())',
        'if (!this.#isWoken) for (const name of this.#afterWake())',
      ],
    ],
  }),
  ...inFile('src/edge/rooms/pools/leases/handovers.ts', 'pool', {
    'late sums that move what was told since': [['if (!last || known.length < 2) {', 'if (!last) {']],
  }),
  ...inFile('src/edge/money/ledger/recall.ts', 'pool', {
    'an hour of a group that an account forgets': [
      ['    settled.hour += inHour.get(group) ?? 0;\n', '    settled.hour = 0;\n'],
    ],
  }),
  ...inFile('src/edge/rooms/webhooks/inbox/inbox.ts', 'inbox', {
    'a classification that replaces another': [
      ['    if (event.result === null) {\n      const ended', '    if (event) {\n      const ended'],
    ],
    'an event that nothing wakes for': [
      ['    this.#wakeNext();\n    if (!this.#isAnnounced', '    if (!this.#isAnnounced'],
    ],
  }),
  ...inFile('src/edge/rooms/webhooks/inbox/event-store.ts', 'inbox', {
    'an event that is worked on and comes due': [
      [" and state = 'waiting' and waits = 1 order", " and state = 'waiting' order"],
    ],
  }),
  ...inFile('src/edge/rooms/approvals/decide.ts', 'approvals', {
    'a decision that replaces another': [
      ['if (row.decision !== null) {', 'if (row.decision !== null && row.continuedBy !== null) {'],
    ],
    'a run that goes on before all of its calls are decided': [['return isOpen || !paused ?', 'return !paused ?']],
  }),
  ...inFile('src/edge/rooms/approvals/owed-calls.ts', 'approvals', {
    'a call that is denied, and made': [["if (approval.decision === 'approve') calls", 'if (approval.id) calls']],
  }),
  ...inFile('src/edge/rooms/approvals/owed-calls.ts', 'approvals', {
    'a call that is made with the input that the model gave': [
      ['const block: Json = { ...call.block, input: parseKept(input) };', 'const block: Json = call.block;'],
    ],
  }),
  ...inFile('src/edge/rooms/runs/calls-again.ts', 'approvals', {
    'a call that a crash has made twice': [['if (call && (calledKindOf(run)?.apart || !run?.once)) {', 'if (call) {']],
  }),
  ...inFile('src/edge/talk/storage/copied-rows.ts', 'approvals', {
    'a rewind that leaves what waits': [['summaries, approvals, calls', 'summaries, calls']],
  }),
  ...inFile('src/edge/rooms/runs/begin-run.ts', 'approvals', {
    'a pause that the account is not told of': [['      maintenance.notePaused();\n', '']],
  }),
  ...inFile('src/edge/talk/conversations/turn-settlements.ts', 'approvals', {
    'what earlier tries have cost, left out of the list': [
      [
        'conversationReportOf(profile, turn.cost - (turn.grant?.earlier ?? 0))',
        'conversationReportOf(profile, turn.cost)',
      ],
    ],
  }),
  ...inFile('src/edge/money/account/line.ts', 'account', {
    'who has passed another one is forgotten': [
      ['Math.floor(free / MOST_PASSING) - passed - held', 'Math.floor(free / MOST_PASSING)'],
    ],
    'what those who have passed have cost is forgotten': [
      ['if (place.passers.delete(id)) place.passed += cost;', 'place.passers.delete(id);'],
    ],
    'those who pass leave too little': [['    unspent - held - needed,\n', '']],
    'the line moves from its end': [
      ['for (const place of [...this.#places]) {', 'for (const place of [...this.#places].reverse()) {'],
    ],
    'nobody looks at the line again': [['    this.#timer ??= setTimeout(this.#tick, TICK_MS);\n', '']],
    'who has left still waits': [['    this.#remove(place);\n    place.answer.resolve(place.refused);\n', '']],
    'what others hold is a refusal at the end of the wait, although it is free again': [
      [
        'const decision = place.decide(isLast, ahead);',
        'const decision = isLast ? place.refused : place.decide(isLast, ahead);',
      ],
    ],
  }),
];
