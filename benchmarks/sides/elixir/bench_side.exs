# Runs one row and prints one line of JSON, by the rules of protocol.py, as bench_side.erl does.
defmodule BenchSide do
  @warm_share 0.2
  @keys 1000

  def main([row, size, seconds]) do
    size = String.to_integer(size)
    {seconds, ""} = Float.parse(seconds)
    {figures, checksums} = measure(row, size, seconds)

    case Enum.uniq(checksums) do
      [checksum] ->
        IO.puts(~s({"figure": #{median(figures)}, "checksum": #{checksum}, "batches": #{length(figures)}}))

      several ->
        IO.puts(:stderr, "batches of one size must have one checksum, got #{inspect(several)}")
        System.halt(1)
    end
  end

  defp measure(row, size, seconds) do
    prepare(row)

    if seconds == 0 do
      {figure, checksum} = batch(row, size)
      {[figure], [checksum]}
    else
      {_, warm} = batches(row, size, seconds * @warm_share)
      {figures, checksums} = batches(row, size, seconds)
      {figures, warm ++ checksums}
    end
  end

  defp batches(row, size, seconds), do: batches(row, size, seconds, System.monotonic_time(), [], [])

  defp batches(row, size, seconds, since, figures, checksums) do
    {figure, checksum} = batch(row, size)
    {figures, checksums} = {[figure | figures], [checksum | checksums]}
    spent = System.convert_time_unit(System.monotonic_time() - since, :native, :microsecond) / 1.0e6
    if spent >= seconds, do: {figures, checksums}, else: batches(row, size, seconds, since, figures, checksums)
  end

  # A process of its own for each batch, so that none pays for another's heap.
  defp batch(row, size) do
    :erlang.garbage_collect()
    Task.await(Task.async(fn -> run(row, size) end), :infinity)
  end

  # Each key is held by a process of its own, with its number as the value.
  defp prepare("registry_lookup") do
    {:ok, _} = Registry.start_link(keys: :unique, name: Rooms)
    me = self()

    for key <- 1..@keys do
      spawn_link(fn ->
        {:ok, _} = Registry.register(Rooms, key, key)
        send(me, :registered)
        receive do: (:never -> :ok)
      end)
    end

    for _ <- 1..@keys, do: receive(do: (:registered -> :ok))
  end

  defp run("registry_lookup", size) do
    began = System.monotonic_time()
    sum = lookups(size, 0, 0)
    seconds = System.convert_time_unit(System.monotonic_time() - began, :native, :nanosecond) / 1.0e9
    {size / seconds, sum}
  end

  defp lookups(size, size, sum), do: sum

  defp lookups(size, done, sum) do
    [{_, value}] = Registry.lookup(Rooms, rem(done, @keys) + 1)
    lookups(size, done + 1, sum + value)
  end

  defp median(figures) do
    sorted = Enum.sort(figures)
    half = div(length(sorted), 2)

    if rem(length(sorted), 2) == 1,
      do: Enum.at(sorted, half),
      else: (Enum.at(sorted, half - 1) + Enum.at(sorted, half)) / 2
  end
end

BenchSide.main(System.argv())
