/**
 * Lets all else that goes on take its turns: so many rounds of the loop, however long each takes on this machine. What must
 * have happened needs a signal of its own; this only draws who comes first. Only the last round lets timers come: workerd has
 * them come one by one, a millisecond each.
 */
export async function yieldToEventLoop(count = 1): Promise<void> {
  for (let round = 1; round < count; round += 1) await new Response('.').text();
  if (count > 0) await new Promise((resolve) => setTimeout(resolve, 0));
}
