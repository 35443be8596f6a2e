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

export const MUTATIONS: readonly Mutation[] = [
  {
    name: 'a conversation without its lock',
    object: 'conversation',
    file: 'src/edge/talk/answers/answer-turn.ts',
    edits: [["if (running) throw conflict(transcript.profile?.id ?? '', running.turn.row.id);", '']],
  },
  {
    name: 'an erasure that nothing wakes for',
    object: 'conversation',
    file: 'src/edge/talk/conversations/conversation.ts',
    edits: [
      [
        '    this.around.alarm.wakeFor(this.now() + CONFIRM_AGAIN_MS);\n    await this.#maintenance.clear();',
        '    await this.#maintenance.clear();',
      ],
    ],
  },
  {
    name: 'a turn that nothing watches over',
    object: 'conversation',
    file: 'src/edge/talk/conversations/begin-turn.ts',
    edits: [['  context.alarm.watch(now + WATCH_MS);\n', '']],
  },
  {
    name: 'a crash that nobody cleans up behind',
    object: 'conversation',
    file: 'src/edge/talk/conversations/conversation.ts',
    edits: [['if (this.#recovered) return;', 'return;']],
  },
  {
    name: 'rows that go after their alarm',
    object: 'conversation',
    file: 'src/edge/kit/objects/edge-object.ts',
    edits: [
      ['const deletions = [ctx.storage.deleteAlarm(), ctx.storage.deleteAll()];', ''],
      ['await Promise.all(deletions);', 'await ctx.storage.deleteAlarm();\n        await ctx.storage.deleteAll();'],
    ],
  },
  {
    name: 'numbers of lost events that are given again',
    object: 'conversation',
    file: 'src/edge/talk/turn/restore-turn.ts',
    edits: [['log.skip(SKIPPED_EVENT_NUMBERS);', '']],
  },
  {
    name: 'a settlement that is not repeated',
    object: 'conversation',
    file: 'src/edge/talk/conversations/turn-settlements.ts',
    edits: [['if (now() - since < CONFIRM_MS) continue;', 'continue;']],
  },
  {
    name: 'a hold that is settled twice',
    object: 'account',
    file: 'src/edge/money/budget/state.ts',
    edits: [['if (!budget.holds.delete(hold.id)) return;', 'if (!budget.holds.has(hold.id)) return;']],
  },
  {
    name: 'a row that is settled twice',
    object: 'account',
    file: 'src/edge/money/account/settle-hold.ts',
    edits: [["if (row.status !== 'orphaned') return { outcome: 'duplicate', ...unchanged };", '']],
  },
  {
    name: 'a settlement that counts as made before its account has said so',
    object: 'settling',
    file: 'src/edge/money/contracts/call-account.ts',
    edits: [['return JSON.parse(await callAccount(', 'return JSON.parse(settlement) || JSON.parse(await callAccount(']],
  },
  {
    name: 'a settlement that nobody sends again whose call was lost',
    object: 'settling',
    file: 'src/edge/money/contracts/call-account.ts',
    edits: [
      ["account.settleJson(settlement), 'persistent')", 'account.settleJson(settlement).catch(() => settlement))'],
    ],
  },
  {
    name: 'a hold that nothing wakes for',
    object: 'account',
    file: 'src/edge/money/account/decide-admission.ts',
    edits: [['  state.alarm.wakeFor(hold.deadline);\n', '']],
  },
  {
    name: 'a store that is told without an alarm',
    object: 'account',
    file: 'src/edge/named/versions/publish-versions.ts',
    edits: [['if (this.#versions.untold) this.#around.alarm.wakeFor(this.#around.now() + TOLD_MS);', '']],
  },
  {
    name: 'a pointer that is written before its value',
    object: 'account',
    file: 'src/edge/named/versions/version-rows.ts',
    edits: [["for (const row of of('new')) {", "for (const row of [...of('new')].reverse().slice(1)) {"]],
  },
  {
    name: 'a call to a pool that comes late and counts',
    object: 'pool',
    file: 'src/edge/rooms/pools/pool.ts',
    edits: [['known && !isNewer(call, known) ? known', 'known && !call ? known']],
  },
  {
    name: 'a lease that is used before its pool has written it',
    object: 'pool',
    file: 'src/edge/rooms/pools/leases/lease.ts',
    edits: [['if (now >= this.#usableUntil) return false;', 'if (now >= this.#usableUntil) return this.#seq > 1;']],
  },
  {
    name: 'a pool that nothing wakes for',
    object: 'pool',
    file: 'src/edge/rooms/pools/pool.ts',
    edits: [['    if (lease.open) this.around.alarm.wakeFor(this.#askAt(lease));\n', '']],
  },
  {
    name: 'an erasure whose sums are handed over twice',
    object: 'pool',
    file: 'src/edge/rooms/pools/pool.ts',
    edits: [['handover !== undefined && handover.epoch > (before?.epoch ?? 0)', 'handover !== undefined']],
  },
  {
    name: 'a lease that is given up while a lost call may still change it',
    object: 'pool',
    file: 'src/edge/rooms/pools/leases/lease.ts',
    edits: [['    this.#told = undefined;\n', '']],
  },
  {
    name: 'an erased account that counts again what is counted for nobody',
    object: 'pool',
    file: 'src/edge/rooms/pools/leases/lease-identity.ts',
    edits: [['window.settled - (base[spanId(period, window.start)] ?? 0)', 'window.settled']],
  },
  {
    name: 'a given up lease that a late call brings back',
    object: 'pool',
    file: 'src/edge/rooms/pools/pool.ts',
    edits: [['windows: {}, droppedAt: now', 'windows: {}, incarnation: 0, seq: 0, droppedAt: now']],
  },
  {
    name: 'a given up lease that stays where its pool could not be reached',
    object: 'pool',
    file: 'src/edge/rooms/pools/leases/lease-identity.ts',
    edits: [['        () => {},\n', '        () => deleted.add(lease),\n']],
  },
  {
    name: 'a closed lease that its pool does not know again',
    object: 'pool',
    file: 'src/edge/rooms/pools/pool.ts',
    edits: [['this.#books.open.get(call.lease) ?? this.#store.lease(call.lease)', 'this.#books.open.get(call.lease)']],
  },
  {
    name: 'a pool that asks silent accounts late',
    object: 'pool',
    file: 'src/edge/rooms/pools/pool.ts',
    edits: [['const SILENT_MS = MINUTE_MS;', 'const SILENT_MS = 3 * MINUTE_MS;']],
  },
  {
    name: 'a recount that forgets who was under way',
    object: 'pool',
    file: 'src/edge/rooms/pools/pool.ts',
    edits: [[' || call.owes === true || isUntold;', ' || call.owes === true;']],
  },
  {
    name: 'a recount that keeps what was wrong',
    object: 'pool',
    file: 'src/edge/rooms/pools/used-sums.ts',
    edits: [['if (since < 0) this.#forget(lease);', '']],
  },
  {
    name: 'sums of rows that are not folded, told to nobody',
    object: 'pool',
    file: 'src/edge/money/ledger/report-sums.ts',
    edits: [['isLast ? dimensionSums(ledger, UNFOLDED, ledger.marker) : []', '[]']],
  },
  {
    name: 'what is settled out of turn, told to nobody',
    object: 'pool',
    file: 'src/edge/rooms/pools/leases/leases.ts',
    edits: [['    for (const name of this.#payersOf(group)) this.#unreported.add(name);\n', '']],
  },
  {
    name: 'what is spent without a lease, told to nobody',
    object: 'pool',
    file: 'src/edge/rooms/pools/leases/leases.ts',
    edits: [['      } else this.#unreported.add(name);\n', '      }\n']],
  },
  {
    name: 'a lease that is used while its return is on the way, and told to nobody',
    object: 'pool',
    file: 'src/edge/rooms/pools/leases/lease.ts',
    edits: [['this.#isOpen = this.#keepsAny || this.#isUsed;', 'this.#isOpen = this.#keepsAny;']],
  },
  {
    name: 'an account that dies before its idle return, and is not asked',
    object: 'pool',
    file: 'src/edge/rooms/pools/leases/leases.ts',
    edits: [['owes: !isIdle || (', 'owes: (']],
  },
  {
    name: 'a report that an account forgets when it dies',
    object: 'pool',
    file: 'src/edge/rooms/pools/leases/unreported-pools.ts',
    edits: [
      [
        'if (this.#isWoken) for (const name of this.#afterWake())',
        'if (!this.#isWoken) for (const name of this.#afterWake())',
      ],
    ],
  },
  {
    name: 'an account that is erased before it has reported',
    object: 'pool',
    file: 'src/edge/rooms/pools/leases/leases.ts',
    edits: [['...(left.rows.length > 0 ? [DEPLOYMENT_POOL] : [])', '']],
  },
  {
    name: 'late sums that move what was told since',
    object: 'pool',
    file: 'src/edge/rooms/pools/leases/handovers.ts',
    edits: [['if (!last || known.length < 2) {', 'if (!last) {']],
  },
  {
    name: 'an hour of a group that an account forgets',
    object: 'pool',
    file: 'src/edge/money/ledger/recall.ts',
    edits: [['    settled.hour += inHour.get(group) ?? 0;\n', '    settled.hour = 0;\n']],
  },
  {
    name: 'a classification that replaces another',
    object: 'inbox',
    file: 'src/edge/rooms/webhooks/inbox/inbox.ts',
    edits: [['    if (event.result === null) {\n      const ended', '    if (event) {\n      const ended']],
  },
  {
    name: 'an event that nothing wakes for',
    object: 'inbox',
    file: 'src/edge/rooms/webhooks/inbox/inbox.ts',
    edits: [['    this.#wakeNext();\n    if (!this.#isAnnounced', '    if (!this.#isAnnounced']],
  },
  {
    name: 'an event that is worked on and comes due',
    object: 'inbox',
    file: 'src/edge/rooms/webhooks/inbox/event-store.ts',
    edits: [[" and state = 'waiting' and waits = 1 order", " and state = 'waiting' order"]],
  },
  {
    name: 'a decision that replaces another',
    object: 'approvals',
    file: 'src/edge/rooms/approvals/decide.ts',
    edits: [['if (row.decision !== null) {', 'if (row.decision !== null && row.continuedBy !== null) {']],
  },
  {
    name: 'a run that goes on before all of its calls are decided',
    object: 'approvals',
    file: 'src/edge/rooms/approvals/decide.ts',
    edits: [['return isOpen || !paused ?', 'return !paused ?']],
  },
  {
    name: 'a call that is denied, and made',
    object: 'approvals',
    file: 'src/edge/rooms/approvals/owed-calls.ts',
    edits: [["if (approval.decision === 'approve') calls", 'if (approval.id) calls']],
  },
  {
    name: 'a call that is made with the input that the model gave',
    object: 'approvals',
    file: 'src/edge/rooms/approvals/approval.ts',
    edits: [['const block: Json = { ...call.block, input: parseKept(input) };', 'const block: Json = call.block;']],
  },
  {
    name: 'a call that a crash has made twice',
    object: 'approvals',
    file: 'src/edge/rooms/runs/calls-again.ts',
    edits: [["if (call && (!run || 'agent' in run || !run.once)) {", 'if (call) {']],
  },
  {
    name: 'a rewind that leaves what waits',
    object: 'approvals',
    file: 'src/edge/rooms/transfer/forks.ts',
    edits: [['    transcript.approvals.rewind(turn);\n', '']],
  },
  {
    name: 'a pause that the account is not told of',
    object: 'approvals',
    file: 'src/edge/talk/conversations/begin-turn.ts',
    edits: [['      maintenance.notePaused();\n', '']],
  },
  {
    name: 'what earlier tries have cost, left out of the list',
    object: 'approvals',
    file: 'src/edge/talk/conversations/turn-settlements.ts',
    edits: [
      [
        'conversationReportOf(profile, turn.cost - (turn.grant?.earlier ?? 0))',
        'conversationReportOf(profile, turn.cost)',
      ],
    ],
  },
  {
    name: 'a request that comes overtakes those who wait',
    object: 'account',
    file: 'src/edge/money/account/decide-admission.ts',
    edits: [['const ahead = () => (waits ? line.ahead(', 'const ahead = () => (waits && !canWait ? line.ahead(']],
  },
  {
    name: 'who has passed another one is forgotten',
    object: 'account',
    file: 'src/edge/money/account/line.ts',
    edits: [['Math.floor(free / MOST_PASSING) - passed - held', 'Math.floor(free / MOST_PASSING)']],
  },
  {
    name: 'what those who have passed have cost is forgotten',
    object: 'account',
    file: 'src/edge/money/account/line.ts',
    edits: [['if (place.passers.delete(id)) place.passed += cost;', 'place.passers.delete(id);']],
  },
  {
    name: 'those who pass leave too little',
    object: 'account',
    file: 'src/edge/money/account/line.ts',
    edits: [['    unspent - held - needed,\n', '']],
  },
  {
    name: 'the line moves from its end',
    object: 'account',
    file: 'src/edge/money/account/line.ts',
    edits: [['for (const place of [...this.#places]) {', 'for (const place of [...this.#places].reverse()) {']],
  },
  {
    name: 'nobody looks at the line again',
    object: 'account',
    file: 'src/edge/money/account/line.ts',
    edits: [['    this.#timer ??= setTimeout(this.#tick, TICK_MS);\n', '']],
  },
  {
    name: 'who has left still waits',
    object: 'account',
    file: 'src/edge/money/account/line.ts',
    edits: [['    this.#remove(place);\n    place.answer.resolve(place.refused);\n', '']],
  },
  {
    name: 'what others hold is a refusal at the end of the wait, although it is free again',
    object: 'account',
    file: 'src/edge/money/account/line.ts',
    edits: [
      [
        'const decision = place.decide(isLast, ahead);',
        'const decision = isLast ? place.refused : place.decide(isLast, ahead);',
      ],
    ],
  },
];
