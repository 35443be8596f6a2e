export function Budget() {
  return (
    <div class="page">
      <h1>Budget</h1>
    </div>
  );
}
