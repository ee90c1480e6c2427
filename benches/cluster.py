#!/usr/bin/env python3
"""How long a grid takes on N nodes, with nodes that are lost on the way.

Tasks are those that `unmute slurm submit` would submit: the program itself puts runs into them. They are played in the order
of the array: a free core takes the next task; a task whose node is lost goes back into the queue, keeps the runs that it has
published, and goes on from the last checkpoint of the one that it was at. Printed beside the time: what no schedule can be
faster than (all work shared evenly, or the longest run), and the work that was lost.

    benches/cluster.py --unmute target/release/unmute --experiment experiments/corsmal --dataset data/corsmal --db runs.db --nodes 4

Seconds are those of finished runs in the store where there are any. `--cost lstm=550 --cost autoencoder=60` sets those of a run by
a part of its name, for sizes and machines that were measured elsewhere.
"""

import argparse
import heapq
import json
import random
import statistics
import subprocess


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unmute", default="target/release/unmute")
    parser.add_argument("--experiment", required=True)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--db", default="none.db")
    parser.add_argument("--seeds")
    parser.add_argument("--set", action="append", default=[], dest="sets")
    parser.add_argument("--cost", action="append", default=[], metavar="PART=SECONDS", help="seconds of a run by a part of its name")
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--cores", type=int, default=1, help="tasks at once on a node")
    parser.add_argument("--tasks", type=int, help="tasks; four for each core by default")
    parser.add_argument("--lost-after", type=float, default=0.0, help="hours until a node is lost, on average; 0: never")
    parser.add_argument("--back-after", type=float, default=0.5, help="hours until it is back")
    parser.add_argument("--noticed-after", type=float, default=300.0, help="seconds until Slurm knows (SlurmdTimeout)")
    parser.add_argument("--held", type=float, default=120.0, help="seconds that a requeued task is held")
    parser.add_argument("--checkpoint-every", type=float, default=30.0)
    parser.add_argument("--overhead", type=float, default=0.5, help="seconds of a task beside its runs")
    parser.add_argument("--publish", type=float, default=0.05, help="seconds to publish a part, for each run")
    parser.add_argument("--trials", type=int, default=50)
    args = parser.parse_args()

    print(f"{'nodes':>5} {'tasks':>6} {'bound':>10} {'time':>10} {'ratio':>6} {'worst':>10} {'lost':>6}  losses")
    for nodes in args.nodes:
        cores = nodes * args.cores
        base, tasks = planned(args, args.tasks or 4 * cores)
        every = [seconds for task in tasks for seconds in task]
        bound = sum(base) / 1 + max(sum(every) / cores, max(every, default=0.0))
        played = [play(args, base, tasks, nodes, random.Random(trial)) for trial in range(args.trials if args.lost_after else 1)]
        times = [time for time, _, _ in played]
        time, lost = statistics.mean(times), statistics.mean(work for _, work, _ in played)
        print(
            f"{nodes:>5} {len(tasks):>6} {told(bound):>10} {told(time):>10} {time / bound:>6.3f} {told(max(times)):>10}"
            f" {100 * lost / max(sum(every), 1e-9):>5.2f}%  {statistics.mean(n for _, _, n in played):.1f}"
        )


def planned(args, count):
    """Seconds of the runs of the first job, and of each task's runs, in order."""
    call = [args.unmute, "slurm", "submit", args.experiment, "--dataset", args.dataset, "--db", args.db]
    call += ["--tasks", str(count), "--dry-run", "--json"]
    for given in args.sets:
        call += ["--set", given]
    if args.seeds:
        call += ["--seeds", args.seeds]
    plan = json.loads(subprocess.run(call, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)
    costs = [given.rsplit("=", 1) for given in args.cost]

    def seconds(item):
        known = [float(cost) for part, cost in costs if part in item["name"]]
        return known[0] if known else item["seconds"]

    by_id = {item["id"]: seconds(item) for item in plan["runs"]}
    return [seconds(item) for item in plan["base"]], [[by_id[id] for id in task["runs"]] for task in plan["tasks"]]


def play(args, base, tasks, nodes, random):
    """One campaign: its seconds, the seconds of work that was lost, and how many nodes were."""
    begin = sum(base) + args.overhead
    hour, losses, work_lost = 3600.0, 0, 0.0
    # When each node is lost next, and until when it is away.
    next_loss = [random.expovariate(1 / (args.lost_after * hour)) if args.lost_after else float("inf") for _ in range(nodes)]
    free = [(begin, node, core) for node in range(nodes) for core in range(args.cores)]
    heapq.heapify(free)
    # (when it may start, its place in the queue, what is left of its runs)
    queue = [(begin, place, list(runs)) for place, runs in enumerate(tasks)]
    heapq.heapify(queue)
    end = begin
    while queue:
        now, node, core = heapq.heappop(free)
        while next_loss[node] < now:
            # Lost while it had nothing to do, or with a task that was accounted for.
            back = next_loss[node] + args.back_after * hour
            now = max(now, back)
            next_loss[node] = back + random.expovariate(1 / (args.lost_after * hour))
        ready = [task for task in queue if task[0] <= now]
        if not ready:
            heapq.heappush(free, (min(task[0] for task in queue), node, core))
            continue
        task = min(ready, key=lambda task: task[1])
        queue.remove(task)
        _, place, runs = task
        at = now + args.overhead
        while runs:
            done = at + runs[0] + args.publish
            if done > next_loss[node]:
                # What the last checkpoint has is kept; the file system that it is on is not the node's.
                worked = max(0.0, next_loss[node] - at)
                kept = worked - worked % args.checkpoint_every if args.checkpoint_every else worked
                work_lost += worked - kept
                runs[0] -= min(kept, runs[0])
                losses += 1
                queue.append((next_loss[node] + args.noticed_after + args.held, place, runs))
                break
            at = done
            runs.pop(0)
        if runs:
            back = next_loss[node] + args.back_after * hour
            if core == args.cores - 1 or args.cores == 1:
                next_loss[node] = back + random.expovariate(1 / (args.lost_after * hour))
            heapq.heappush(free, (back, node, core))
        else:
            end = max(end, at)
            heapq.heappush(free, (at, node, core))
    return end, work_lost, losses


def told(seconds):
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.2f} h"


if __name__ == "__main__":
    main()
